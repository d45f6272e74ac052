//! Sets `cfg(planted)` for this package alone, so that bugs can be turned on in the
//! core's sources as they are compiled here, and nowhere else.
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(loom, planted)");
    println!("cargo::rustc-cfg=planted");
}
