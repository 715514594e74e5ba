//! Compresses files that are served many times. `build.rs` uses this file too, for texts that are known at build time.
use std::io::{self, Write};

/// At this level, brotli makes smaller files than gzip at its best and takes no longer, so that the first client does
/// not wait long.
const BROTLI_QUALITY: i32 = 5;

/// Compresses as much as gzip can. The time hardly matters, because each copy is made only once.
pub fn gzip(plain: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(plain)?;
    encoder.finish()
}

pub fn brotli(mut plain: &[u8]) -> io::Result<Vec<u8>> {
    let parameters = brotli::enc::BrotliEncoderParams { quality: BROTLI_QUALITY, ..Default::default() };
    let mut packed = Vec::new();
    brotli::BrotliCompress(&mut plain, &mut packed, &parameters)?;
    Ok(packed)
}
