//! Compiles the BPF programs with clang, and writes Rust types for what they send.
//!
//! No kernel headers and no kernel BTF are needed here: `bpf/kernel.h` holds what the programs read,
//! and libbpf's own headers come with libbpf-cargo. `CLANG` names another clang than the one in
//! `PATH`.

#[path = "build/wire.rs"]
mod wire;

use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{env, fs};

use libbpf_cargo::SkeletonBuilder;

/// `-mcpu=v3`: 32-bit arithmetic and jumps, which every kernel with a ring buffer has.
const CLANG_ARGS: [&str; 5] = ["-mcpu=v3", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=build");
    println!("cargo:rerun-if-changed=bpf");
    println!("cargo:rerun-if-env-changed=CLANG");

    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let mut sources = Vec::new();
    for entry in fs::read_dir("bpf")? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(".bpf.c") {
            sources.push(path);
        }
    }
    sources.sort();
    for source in &sources {
        compile(source, &out)?;
    }
    wire::generate(&out.join("wire.bpf.o"), &out.join("wire.rs"))
}

/// `bpf/NAME.bpf.c` becomes `OUT_DIR/NAME.bpf.o`.
fn compile(source: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    let name = source.file_name().ok_or("a source has a name")?;
    let object = out.join(name).with_extension("o");
    let clang = env::var_os("CLANG").unwrap_or_else(|| OsString::from("clang"));
    SkeletonBuilder::new()
        .source(source)
        .obj(object)
        .clang(clang)
        .clang_args(CLANG_ARGS)
        .build()
        .map_err(|error| format!("{}: {error:#}", source.display()).into())
}
