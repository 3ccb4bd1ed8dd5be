//! `crash --weir BINARY [--cycles N] [--seed S] [--records N] [--durability fsync|os] [--layout row|column|both] [--folder DIR]`: kill -9
//! under load, see the library's `crash`.
use anyhow::{Context, Result, bail};
use weir_compat_tests::crash::{Options, run};

fn main() -> Result<()> {
    let mut options = Options {
        weir: "weir".into(),
        cycles: 10,
        seed: 1,
        records: 0,
        durability: "fsync",
        layout: None,
        folder: None,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--weir" => options.weir = value.into(),
            "--cycles" => options.cycles = value.parse()?,
            "--seed" => options.seed = value.parse()?,
            "--records" => options.records = value.parse()?,
            "--layout" => options.layout = Some(value),
            "--folder" => options.folder = Some(value.into()),
            "--durability" if value == "os" => options.durability = "os",
            "--durability" if value == "fsync" => options.durability = "fsync",
            other => bail!("unknown argument {other} {value}"),
        }
    }
    let outcome = run(&options)?;
    println!(
        "{{\"counts\":{{\"cycles\":{},\"resumed_at\":{},\"acked\":{},\"compared\":{},\"resent\":{},\"slowest_restart_ms\":{},\"seed\":{}}}}}",
        outcome.cycles,
        outcome.resumed_at,
        outcome.acked,
        outcome.compared,
        outcome.resent,
        outcome.slowest_restart.as_millis(),
        outcome.seed
    );
    Ok(())
}
