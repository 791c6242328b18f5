//! Every kernel on shapes small enough for Miri, which watches each access to memory:
//! `MIRIFLAGS=-Zmiri-ignore-leaks cargo +nightly miri test -p vipaint-kernels --lib small`. The results of one thread and of
//! three are the same bits.

use crate::conv::{Conv, Frozen, forward, input_grad, weight_grad};
use crate::version_tests::in_version;
use crate::{Activation, Attention, GroupNorm, Tail, Version};

fn noise(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect()
}

fn convolutions() -> Vec<Vec<f32>> {
    let shapes = [
        (3, 1, 2, 8, 16),
        (3, 1, 5, 8, 8),
        (3, 2, 4, 5, 7),
        (3, 1, 3, 17, 3), // to few channels
        (3, 1, 4, 1, 16), // and from few
        (1, 1, 2, 24, 17),
        (1, 1, 1, 264, 256),
    ];
    let mut results = Vec::new();
    for (kernel, stride, side, c_in, c_out) in shapes {
        // The last is for the single copy of large linear weights, whose training Miri need not see as well.
        let conv = Conv { height: side, width: side, c_in, c_out, kernel, stride, padding: kernel / 2 };
        let (x, w, b) = (noise(side * side * c_in), noise(c_in * c_out * kernel * kernel), noise(c_out));
        let g = noise(conv.out_height() * conv.out_width() * c_out);
        let (mut y, mut dx, mut dw, mut db) = (g.clone(), x.clone(), w.clone(), b.clone());
        if c_in < 100 {
            forward(&conv, &x, &w, Some(&b), &mut y);
            input_grad(&conv, &g, &w, &mut dx);
            weight_grad(&conv, &x, &g, &mut dw, Some(&mut db));
            results.extend([y, dx, dw, db]);
        }
        let frozen = Frozen::new(&conv, &w, &b);
        for layer in [frozen.clone(), Frozen::halved(&conv, &w, &b)] {
            let (mut y, mut dx) = (g.clone(), x.clone());
            layer.apply(&x, true, &mut y);
            layer.input_grad(&g, &mut dx);
            results.extend([y, dx]);
            let (mut y, mut z, mut dx) = (g.clone(), g.clone(), x.clone());
            layer.apply_activated(&x, Activation::Gelu, &mut y, Some(&mut z));
            layer.input_grad_activated(Activation::Gelu, &z, &g, &mut dx);
            results.extend([y, z, dx]);
        }
        if side % 2 == 0 && stride == 1 {
            let doubled = frozen.after_upsampling();
            let x = &x[..x.len() / 4];
            let (mut y, mut dx) = (g.clone(), x.to_vec());
            doubled.apply(x, false, &mut y);
            doubled.input_grad(&g, &mut dx);
            results.extend([y, dx]);
        }
    }
    results
}

fn others() -> Vec<Vec<f32>> {
    let (x, g) = (noise(2 * 6 * 12), noise(2 * 6 * 12 + 5)[5..].to_vec());
    let (weight, bias) = (noise(12), noise(13)[1..].to_vec());
    let mut results = Vec::new();
    let place = || vec![f32::NAN; x.len()];

    let norm = GroupNorm { pixels: 6, channels: 12, groups: 3, eps: 1e-5, silu: true };
    let before = noise(24);
    let tail = Tail { before: Some(&before), weight: &weight, bias: &bias, modulation: Some((&before, &before)) };
    let (mut y, mut dx) = (place(), place());
    let moments = crate::group_norm(&norm, &x, &tail, &mut y);
    let grads = crate::group_norm_vjp(&norm, &x, &moments, &tail, &g, &mut dx, true);
    results.extend([y, dx]);
    results.extend(grads.map(|grads| [grads.before, grads.weight, grads.scale].concat()));

    let (mut y, mut dx) = (place(), place());
    crate::layer_norm(&x, &weight, &bias, 1e-5, &mut y);
    let parameters = crate::layer_norm_vjp(&x, &weight, 1e-5, &g, &mut dx, true);
    results.extend([y, dx]);
    results.extend(parameters.into_iter().flatten());

    let shape = Attention { queries: 6, keys: 6, channels: 12, heads: 2 };
    let [mut y, mut dq, mut dk, mut dv] = std::array::from_fn(|_| place());
    crate::attention(&shape, &x, &g, &x, &mut y);
    crate::attention_vjp(&shape, &x, &g, &x, &g, Some(&mut dq), Some(&mut dk), Some(&mut dv));
    results.extend([y, dq, dk, dv]);

    let (mut y, mut dvalue, mut dgate) = (place(), g.clone(), place());
    crate::geglu(&x, &g, &mut y);
    crate::geglu_vjp(&x, &g, &mut dvalue, &mut dgate);
    results.extend([y, dvalue, dgate]);
    let (mut y, mut dx, mut large) = (place(), place(), vec![f32::NAN; 4 * x.len()]);
    crate::silu(&x, &mut y);
    crate::silu_vjp(&x, &g, &mut dx);
    crate::upsample2(3, 12, &x, &mut large);
    results.extend([y, dx, large.clone()]);
    let (mut halved, mut summed) = (place(), place());
    crate::average_pool2(3, 12, &large, &mut halved);
    crate::upsample2_vjp(3, 12, &large, &mut summed);
    crate::average_pool2_vjp(3, 12, &halved, &mut large);
    results.extend([halved, summed, large]);
    results
}

#[test]
fn small_shapes_give_the_same_bits_on_one_thread_and_on_three() {
    let run = |version, threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        in_version(version, || pool.install(|| [convolutions(), others()].concat()))
    };
    for version in Version::available() {
        let one = run(version, 1);
        assert!(one.iter().flatten().all(|x| x.is_finite()));
        assert_eq!(one, run(version, 3), "{version:?}");
    }
}
