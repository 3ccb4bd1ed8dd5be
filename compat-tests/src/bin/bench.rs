//! `cargo xtask bench [NAME] [--rounds N] [--seconds N] [--no-kafka] [--config NAME=VALUE]`: see the library's `bench`.
fn main() -> anyhow::Result<()> {
    weir_compat_tests::bench::main(std::env::args().skip(1))
}
