//! Sets `cfg(loom)` for this package alone, so that the core's sources are
//! compiled here against loom's types and everywhere else against the real ones.
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(loom, planted)");
    println!("cargo::rustc-cfg=loom");
}
