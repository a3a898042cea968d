//! `osquery-ebpf`: wires flags, configuration, sources, stores and the osquery session together.

fn main() {
    println!("osquery-ebpf {}", env!("CARGO_PKG_VERSION"));
}
