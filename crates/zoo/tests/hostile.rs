//! Torch files made to run code or to exhaust memory: each is refused, and the error says why.

use vipaint_zoo::formats::{Checkpoint, FormatError};

/// A zip archive of entries that are not compressed, written by hand.
fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    zip_with(entries, 0, |offset| offset)
}

/// As [`zip`], with a compression method, and with each entry's offset in the directory changed.
fn zip_with(entries: &[(&str, &[u8])], method: u16, change: impl Fn(u32) -> u32) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let offset = file.len() as u32;
        let sizes = [(data.len() as u32).to_le_bytes(); 2].concat();
        let common =
            [&[20, 0, 0, 0][..], &method.to_le_bytes(), &[0; 8], &sizes, &(name.len() as u16).to_le_bytes()].concat();
        file.extend([b"PK\x03\x04", &common[..], &[0, 0], name.as_bytes(), data].concat());
        directory.extend([b"PK\x01\x02\x14\0", &common[..], &[0; 12]].concat());
        directory.extend([&change(offset).to_le_bytes()[..], name.as_bytes()].concat());
    }
    let (start, count) = (file.len() as u32, (entries.len() as u16).to_le_bytes());
    file.extend(&directory);
    let sizes = [(directory.len() as u32).to_le_bytes(), start.to_le_bytes()].concat();
    file.extend([b"PK\x05\x06\0\0\0\0", &count[..], &count, &sizes, &[0, 0]].concat());
    file
}

/// A torch file with this pickle and one storage of four f32.
fn torch(pickle: &[u8]) -> Vec<u8> {
    zip(&[("archive/data.pkl", pickle), ("archive/data/0", &[0; 16]), ("archive/version", b"3\n")])
}

fn refusal(bytes: Vec<u8>) -> FormatError {
    Checkpoint::from_bytes(bytes).err().expect("it is refused")
}

fn pickle(body: &[u8]) -> Vec<u8> {
    [b"\x80\x02", body, b"."].concat()
}

/// The pickle of a tensor over storage 0, which has four numbers, with these pickled sizes and strides.
fn tensor(class: &str, offset: &[u8], shape: &[u8], strides: &[u8]) -> Vec<u8> {
    let storage = [b"(X\x07\0\0\0storagec", class.as_bytes(), b"\nX\x01\0\0\x000X\x03\0\0\0cpuK\x04tQ"].concat();
    [b"ctorch._utils\n_rebuild_tensor_v2\n(", &storage[..], offset, shape, strides, b"\x89NtR"].concat()
}

/// A state dict with one value.
fn with(value: &[u8]) -> Vec<u8> {
    pickle(&[b"}X\x01\0\0\0w", value, b"s"].concat())
}

#[test]
fn the_pieces_these_tests_are_made_of_are_sound() {
    let good = torch(&with(&tensor("torch\nFloatStorage", b"K\x00", b"K\x02K\x02\x86", b"K\x02K\x01\x86")));
    let file = Checkpoint::from_bytes(good).unwrap();
    assert_eq!(file.get("w").unwrap().to_f32().unwrap(), [0.0; 4]);
}

#[test]
fn asking_to_run_something_is_refused_by_name() {
    let cases: [(&[u8], &str); 12] = [
        (b"cos\nsystem\nX\x02\0\0\0ls\x85R", "os.system"),
        (b"cposix\nsystem\nX\x02\0\0\0ls\x85R", "posix.system"),
        (b"X\x02\0\0\0osX\x06\0\0\0system\x93X\x02\0\0\0ls\x85R", "os.system"),
        (b"\x8c\x05torch\x8c\x09os.system\x93X\x02\0\0\0ls\x85R", "torch.os.system"),
        (b"c__builtin__\neval\nX\x01\0\0\x001\x85R", "__builtin__.eval"),
        (b"cbuiltins\nexec\nX\x01\0\0\x001\x85R", "builtins.exec"),
        (b"csubprocess\nPopen\n)\x81", "subprocess.Popen"),
        (b"csubprocess\nPopen\n)}\x92", "subprocess.Popen"),
        (b"(X\x02\0\0\0lsios\nsystem\n", "os.system"),
        (b"crunpy\n_run_code\n)R}b", "runpy._run_code"),
        (b"ctorch.hub\nload\n)R", "torch.hub.load"),
        (b"cnumpy.testing._private.utils\nrunstring\n)R", "runstring"),
    ];
    for (body, global) in cases {
        for file in [torch(&pickle(body)), torch(&with(body)), pickle(body)] {
            let error = refusal(file);
            assert!(matches!(error, FormatError::Hostile { .. }), "{error}");
            assert!(error.to_string().contains(global), "{error}");
        }
    }
}

#[test]
fn instructions_that_weights_do_not_need_are_refused() {
    // Objects of protocol 0, persistent names as text, the extension registry, out-of-band buffers.
    let cases: [&[u8]; 7] = [
        b"(ccollections\nCounter\no",
        b"(icollections\nCounter\n",
        b"Pname\n",
        b"\x82\x01",
        b"\x97",
        b"I1\n",
        b"Vtext\n",
    ];
    for body in cases {
        let error = refusal(torch(&pickle(body)));
        assert!(matches!(error, FormatError::Opcode { .. }), "{body:?}: {error}");
    }
}

#[test]
fn nothing_outside_the_file_can_be_referred_to() {
    let cases: [&[u8]; 5] = [
        b"X\x0b\0\0\0/etc/passwdQ",
        b"(X\x06\0\0\0modulecfoo\nBar\nX\x01\0\0\0aX\x01\0\0\0btQ",
        b"(X\x07\0\0\0storageX\x01\0\0\0aX\x01\0\0\x000NK\x04tQ",
        b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000NJ\xff\xff\xff\xfftQ",
        b"K\x01Q",
    ];
    for body in cases {
        let error = refusal(torch(&pickle(body)));
        assert!(matches!(error, FormatError::Pickle { .. }), "{error}");
    }
    let absent = tensor("torch\nFloatStorage", b"K\x00", b"K\x02\x85", b"K\x01\x85");
    let error = refusal(zip(&[("a/data.pkl", &with(&absent))])).to_string();
    assert!(error.contains("no entry data/0"), "{error}");
    let path = with(&absent).iter().map(|byte| if *byte == b'0' { b'.' } else { *byte }).collect::<Vec<u8>>();
    assert!(refusal(torch(&path)).to_string().contains("no entry data/."));
}

#[test]
fn tensors_stay_inside_their_storage() {
    let long = |n: u64| [b"\x8a\x08", &n.to_le_bytes()[..]].concat();
    let one = |size: Vec<u8>| [size, vec![0x85]].concat();
    let cases = [
        ("torch\nFloatStorage", vec![b'K', 1], one(vec![b'K', 4]), one(vec![b'K', 1])),
        ("torch\nFloatStorage", vec![b'K', 0], one(vec![b'K', 2]), one(vec![b'K', 4])),
        ("torch\nFloatStorage", long(1 << 62), one(vec![b'K', 1]), one(vec![b'K', 1])),
        ("torch\nFloatStorage", vec![b'K', 0], one(long(1 << 62)), one(vec![b'K', 0])),
        ("torch\nFloatStorage", vec![b'K', 0], one(vec![b'K', 3]), one(long(1 << 62))),
        ("torch\nFloatStorage", vec![b'K', 0], one(vec![b'K', 200]), one(vec![b'K', 0])),
        ("torch\nFloatStorage", vec![b'K', 0], one(long(u64::MAX)), one(vec![b'K', 1])),
        ("torch\nFloatStorage", vec![b'K', 0], one(vec![b'K', 2]), vec![b')']),
        ("torch\nDoubleStorage", vec![b'K', 0], one(vec![b'K', 4]), one(vec![b'K', 1])),
    ];
    for (class, offset, shape, strides) in cases {
        let error = refusal(torch(&with(&tensor(class, &offset, &shape, &strides))));
        assert!(matches!(error, FormatError::Tensor { .. } | FormatError::Pickle { .. }), "{error}");
    }
}

#[test]
fn depth_size_and_repetition_are_bounded() {
    // Lists inside one another are inert, however many.
    let deep = pickle(&[vec![b']'; 100_000], vec![b'a'; 99_999]].concat());
    assert!(matches!(refusal(torch(&deep)), FormatError::Object { .. }));
    // Dictionaries inside one another: {a: {a: {a: ...}}}
    let nested = pickle(&[b"}X\x01\0\0\0a".repeat(1000), vec![b'}'], vec![b's'; 1000]].concat());
    assert!(matches!(refusal(torch(&nested)), FormatError::Limit { .. }));
    // A dictionary that holds itself: {w: itself}
    let own = pickle(b"}q\x00X\x01\0\0\0wh\x00s");
    assert!(matches!(refusal(torch(&own)), FormatError::Limit { .. }));
    // Each of eight dictionaries holds the one before it 200 times: 200^8 names in some kilobytes.
    let mut bomb = b"}X\x01\0\0\0aK\x01sq\x00".to_vec();
    for level in 0..7u8 {
        bomb.push(b'}');
        bomb.push(b'(');
        for name in 0..200u8 {
            bomb.extend([&b"X\x03\0\0\0"[..], format!("{name:03}").as_bytes(), &[b'h', level]].concat());
        }
        bomb.extend([b'u', b'q', level + 1]);
    }
    assert!(matches!(refusal(torch(&pickle(&bomb))), FormatError::Limit { .. }));
    // Millions of instructions.
    assert!(matches!(refusal(torch(&pickle(&vec![b'N'; 5 << 20]))), FormatError::Limit { .. }));
    // Lengths and memo numbers far beyond the file.
    for body in [
        &b"X\xff\xff\xff\xff"[..],
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x8b\xff\xff\xff\x7f",
        b"j\xff\xff\xff\xff",
    ] {
        assert!(matches!(refusal(torch(&pickle(body))), FormatError::Pickle { .. }));
    }
    let far =
        torch(&with(&[b"Nr\xff\xff\xff\xff0", &tensor("torch\nFloatStorage", b"K\x00", b")", b")")[..]].concat()));
    assert!(Checkpoint::from_bytes(far).is_ok(), "a memo number may be large");
}

#[test]
fn the_stack_cannot_be_misused() {
    let cases: [&[u8]; 10] =
        [b"0", b"t", b"u", b"(K\x01}us", b"(s", b"R", b"NNR", b"]NNs", b"cos.path\nx\n", b"ctorch\nSize\n)R"];
    for body in cases {
        assert!(Checkpoint::from_bytes(torch(&pickle(body))).is_err(), "{body:?}");
    }
    let attributes = tensor("torch\nFloatStorage", b"K\x00", b")", b")");
    let error = refusal(torch(&with(&[&attributes[..], b"}b"].concat()))).to_string();
    assert!(error.contains("attributes are set on a single tensor"), "{error}");
}

#[test]
fn deceitful_archives_are_refused() {
    let good = with(&tensor("torch\nFloatStorage", b"K\x00", b")", b")"));
    let entries = [("a/data.pkl", &good[..]), ("a/data/0", &[0; 16][..])];
    let twice = [entries[0], entries[1], ("a/data/0", &[1; 16][..])];
    let inside = zip(&[("b", &[0; 4])]);
    let cases = [
        (zip_with(&entries, 8, |offset| offset), "compressed"),
        (zip(&twice), "twice"),
        (zip(&[entries[0], ("b/data.pkl", &good[..])]), "no (one) data.pkl"),
        (zip(&entries[1..]), "no (one) data.pkl"),
        (zip_with(&entries, 0, |_| 0), "two different names"),
        (zip(&[entries[0], entries[1], ("a/byteorder", b"big")]), "big-endian"),
        (overlapping(&good), "overlap"),
        ([&b"PK\x03\x04"[..], &inside[..20]].concat(), "zip archive"),
    ];
    for (bytes, part) in cases {
        let error = refusal(bytes).to_string();
        assert!(error.contains(part), "{part}: {error}");
    }
}

/// An archive whose second entry lies inside the first one's data.
fn overlapping(pickle: &[u8]) -> Vec<u8> {
    let inner = zip(&[("a/data/0", &[0; 16])]);
    let whole = zip(&[("a/data.pkl", pickle), ("a/outer", &inner)]);
    // The outer entry's data begin after its header of 30 bytes and its name.
    let outer = whole.windows(4).rposition(|w| w == b"PK\x03\x04").expect("it has one") as u32;
    let mut bytes =
        zip_with(&[("a/data.pkl", pickle), ("a/outer", &inner), ("a/data/0", &[0; 16])], 0, |offset| offset);
    let directory = bytes.windows(4).rposition(|w| w == b"PK\x01\x02").expect("it has one");
    bytes[directory + 42..][..4].copy_from_slice(&outer.to_le_bytes());
    bytes
}
