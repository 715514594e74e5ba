//! Bundles the API contract, so that the binary contains it and an inconsistent contract does not build.
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

#[path = "src/contract/bundle.rs"]
mod bundle;
#[path = "src/contract/headers.rs"]
mod headers;
#[path = "src/server/pack.rs"]
mod pack;

const CONTRACT: &str = "openapi";

fn main() {
    // `embed_migrations!` reads this folder without telling cargo.
    println!("cargo:rerun-if-changed=migrations");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=src/contract/bundle.rs");
    println!("cargo:rerun-if-changed=src/contract/bundle/shared.rs");
    println!("cargo:rerun-if-changed=src/contract/headers.rs");
    println!("cargo:rerun-if-changed=src/server/pack.rs");
    if let Err(error) = write_contract() {
        eprintln!("\nThe API contract in {CONTRACT}/ can't be bundled:\n  {error:#}\n");
        std::process::exit(1);
    }
}

fn write_contract() -> Result<()> {
    watch(Path::new(CONTRACT))?;
    let out = PathBuf::from(std::env::var("OUT_DIR").context("cargo sets OUT_DIR")?);
    let document = bundle::bundle(Path::new(CONTRACT))?;
    let headers: Vec<_> = headers::response_headers(&document).into_iter().collect();
    std::fs::write(out.join("response_headers.txt"), headers.join("\n"))?;
    write_with_copies(&out.join("openapi.json"), &serde_json::to_string(&document)?)?;
    write_with_copies(&out.join("openapi.yaml"), &serde_yaml_ng::to_string(&document)?)
}

/// Writes the file, and beside it the copies for clients that accept brotli or gzip. The server then compresses nothing
/// while it runs.
fn write_with_copies(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text)?;
    std::fs::write(path.with_added_extension("br"), pack::brotli(text.as_bytes())?)?;
    std::fs::write(path.with_added_extension("gz"), pack::gzip(text.as_bytes())?)?;
    Ok(())
}

/// Makes cargo watch the files and the folder. Only the folder changes when a file is added or removed.
fn watch(dir: &Path) -> Result<()> {
    println!("cargo:rerun-if-changed={}", dir.display());
    for entry in std::fs::read_dir(dir).with_context(|| format!("{} can't be read", dir.display()))? {
        println!("cargo:rerun-if-changed={}", entry?.path().display());
    }
    Ok(())
}
