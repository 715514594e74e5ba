//! Compresses what is served again and again. `build.rs` uses it too, for what is known when it is built.
use std::io::{self, Write};

/// Smaller than gzip at its best, and as fast: nobody waits long for a first copy.
const BROTLI_QUALITY: i32 = 5;

/// As small as gzip can: nobody waits for it twice.
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
