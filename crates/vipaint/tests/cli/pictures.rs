//! Pictures of many kinds: known pixels come back as they were, in the same depth and layout.

use image::{ColorType, DynamicImage, GenericImageView, ImageEncoder, Rgb};
use moxcms::ColorProfile;

use crate::setup::{Setup, half};

/// A grey picture of noise in a colour type.
fn noise(colour: ColorType, width: u32, height: u32) -> DynamicImage {
    let mut state = 7u32;
    let grey = image::ImageBuffer::from_fn(width, height, |_, _| {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        image::Luma([(state >> 16) as u16])
    });
    let grey = DynamicImage::ImageLuma16(grey);
    match colour {
        ColorType::L8 => grey.into_luma8().into(),
        ColorType::L16 => grey,
        ColorType::La8 => grey.into_luma_alpha8().into(),
        ColorType::La16 => grey.into_luma_alpha16().into(),
        ColorType::Rgb8 => grey.into_rgb8().into(),
        ColorType::Rgb16 => grey.into_rgb16().into(),
        ColorType::Rgba8 => grey.into_rgba8().into(),
        _ => grey.into_rgba16().into(),
    }
}

/// Checks that a result has the picture's size and type, and its pixels where the left half is known.
fn same_where_known(setup: &Setup, picture: &DynamicImage, result: &str) {
    let result_image = image::open(setup.path(result)).unwrap();
    assert_eq!(result_image.color(), picture.color(), "{result}");
    assert_eq!(result_image.dimensions(), picture.dimensions(), "{result}");
    let (width, height) = (picture.width() / 2, picture.height());
    let left = |image: &DynamicImage| image.crop_imm(0, 0, width, height);
    assert!(left(&result_image) == left(picture), "{result}");
    assert!(result_image != *picture, "{result}");
}

#[test]
fn every_depth_layout_and_size_keeps_its_known_pixels() {
    let setup = Setup::new();
    let cases = [
        (ColorType::L8, 8, 8),
        (ColorType::L16, 8, 8),
        (ColorType::La8, 7, 7),
        (ColorType::La16, 28, 28),
        (ColorType::Rgb8, 13, 30),
        (ColorType::Rgb16, 40, 9),
        (ColorType::Rgba8, 2, 3),
        (ColorType::Rgba16, 100, 61),
    ];
    for (colour, width, height) in cases {
        let picture = noise(colour, width, height);
        setup.save("p.png", &picture);
        setup.save("m.png", &half(width, height));
        setup.quick(&["inpaint", "p.png", "--mask", "m.png", "-n", "2", "-o", "out"]);
        for result in ["out/sample-000.png", "out/sample-001.png", "out/mean.png"] {
            same_where_known(&setup, &picture, result);
        }
    }
}

#[test]
fn jpeg_and_webp_are_read() {
    let setup = Setup::new();
    for name in ["p.jpg", "p.webp"] {
        let picture = noise(ColorType::L8, 20, 16);
        // WebP has no grey.
        let picture = if name == "p.webp" { picture.into_rgb8().into() } else { picture };
        setup.save(name, &picture);
        setup.save("m.png", &half(20, 16));
        setup.quick(&["inpaint", name, "--mask", "m.png", "-n", "1", "-o", "out"]);
        let as_decoded = image::open(setup.path(name)).unwrap();
        same_where_known(&setup, &as_decoded, "out/sample-000.png");
    }
}

/// A JPEG file with an EXIF orientation.
fn rotated_jpeg(picture: &DynamicImage, orientation: u8) -> Vec<u8> {
    let mut jpeg = Vec::new();
    picture.write_to(&mut std::io::Cursor::new(&mut jpeg), image::ImageFormat::Jpeg).unwrap();
    let mut exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
    let mut file = jpeg[..2].to_vec();
    file.extend([0xff, 0xe1]);
    file.extend(((exif.len() + 2) as u16).to_be_bytes());
    file.extend(exif);
    file.extend(&jpeg[2..]);
    file
}

#[test]
fn exif_orientation_is_applied() {
    let setup = Setup::new();
    let lying = noise(ColorType::L8, 24, 10);
    setup.write("p.jpg", &rotated_jpeg(&lying, 6));
    setup.save("m.png", &half(10, 24));
    setup.quick(&["inpaint", "p.jpg", "--mask", "m.png", "-n", "1", "-o", "out"]);
    let upright = image::open(setup.path("p.jpg")).unwrap().rotate90();
    same_where_known(&setup, &upright, "out/sample-000.png");

    setup.save("lying.png", &half(24, 10));
    let said = setup.run(&["inpaint", "p.jpg", "--mask", "lying.png", "--prior", "tiny.safetensors"]);
    assert_eq!(said.code, Some(3));
    assert!(said.stderr.contains("after its EXIF orientation"), "{}", said.stderr);
}

#[test]
fn a_black_mask_means_the_same_as_its_negative() {
    let setup = Setup::new();
    let mut negative = half(8, 8);
    negative.invert();
    setup.save("negative.png", &negative);
    setup.quick(&["inpaint", "picture.png", "--mask", "mask.png", "-n", "1", "-o", "a"]);
    setup.quick(&["inpaint", "picture.png", "--mask", "negative.png", "--mask-keep", "black", "-n", "1", "-o", "b"]);
    assert!(setup.bytes("a/sample-000.png") == setup.bytes("b/sample-000.png"));
}

fn with_profile(picture: &DynamicImage, profile: &ColorProfile) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = image::codecs::png::PngEncoder::new(&mut file);
    encoder.set_icc_profile(profile.encode().unwrap()).unwrap();
    let (width, height) = picture.dimensions();
    encoder.write_image(picture.as_bytes(), width, height, picture.color().into()).unwrap();
    file
}

#[test]
fn a_usual_colour_profile_is_kept_and_an_unusual_one_refused() {
    use image::ImageDecoder;
    let setup = Setup::new();
    let picture = noise(ColorType::Rgb8, 8, 8);
    let srgb = ColorProfile::new_srgb();
    setup.write("p.png", &with_profile(&picture, &srgb));
    setup.quick(&["inpaint", "p.png", "--mask", "mask.png", "-n", "1", "-o", "out"]);
    let profile = |name: &str| {
        let picture = std::io::Cursor::new(setup.bytes(name));
        image::codecs::png::PngDecoder::new(picture).unwrap().icc_profile().unwrap()
    };
    // Against the file, not against a new encoding: that would hold another time of day.
    assert!(profile("p.png").is_some());
    assert_eq!(profile("out/sample-000.png"), profile("p.png"));

    let mut linear = ColorProfile::new_srgb();
    let curve = moxcms::curve_from_gamma(1.0);
    (linear.red_trc, linear.green_trc, linear.blue_trc) = (Some(curve.clone()), Some(curve.clone()), Some(curve));
    setup.write("p.png", &with_profile(&picture, &linear));
    let said = setup.run(&["inpaint", "p.png", "--mask", "mask.png", "--prior", "tiny.safetensors"]);
    assert_eq!(said.code, Some(3));
    assert!(
        said.stderr.contains("p.png: its colour profile has an unusual gamma; convert it to sRGB"),
        "{}",
        said.stderr
    );
}

#[test]
fn colour_under_a_grey_prior_is_refused_with_the_reason() {
    let setup = Setup::new();
    let red = image::RgbImage::from_pixel(8, 8, Rgb([200, 10, 10]));
    setup.save("p.png", &red.into());
    let said = setup.run(&["inpaint", "p.png", "--mask", "mask.png", "--prior", "tiny.safetensors"]);
    assert_eq!(said.code, Some(3));
    assert!(said.stderr.contains("p.png: has colour, but the prior knows only grey"), "{}", said.stderr);
}
