//! Takes a JPEG or PNG as it is, answers a smaller JPEG. Hearth adds the main.

use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::ImageError;

const QUALITY: u8 = 85;

fn handler(photo: Vec<u8>) -> Result<Vec<u8>, ImageError> {
    let width = std::env::var("WIDTH").ok().and_then(|text| text.parse().ok()).unwrap_or(800);
    let small = image::load_from_memory(&photo)?.resize(width, u32::MAX, FilterType::Triangle);
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY).encode_image(&small.to_rgb8())?;
    println!("{} x {}, {} bytes", small.width(), small.height(), jpeg.len());
    Ok(jpeg)
}
