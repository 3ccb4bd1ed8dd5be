//! Medians, ratios and the lines that go into docs/benchmarks.md.

/// One measured value of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    pub name: &'static str,
    pub unit: &'static str,
    pub value: f64,
}

impl Figure {
    pub fn new(name: &'static str, unit: &'static str, value: f64) -> Figure {
        Figure { name, unit, value }
    }
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub name: &'static str,
    pub unit: &'static str,
    pub weir: Vec<f64>,
    pub kafka: Vec<f64>,
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

pub fn rows(weir: &[Vec<Figure>], kafka: &[Vec<Figure>]) -> Vec<Row> {
    let names: Vec<(&'static str, &'static str)> =
        weir.first().map(|run| run.iter().map(|f| (f.name, f.unit)).collect()).unwrap_or_default();
    let of = |runs: &[Vec<Figure>], name: &str| {
        runs.iter().filter_map(|run| run.iter().find(|f| f.name == name)).map(|f| f.value).collect()
    };
    names.into_iter().map(|(name, unit)| Row { name, unit, weir: of(weir, name), kafka: of(kafka, name) }).collect()
}

pub fn print(bench: &str, baseline: &str, rows: &[Row]) {
    println!("\n| {bench} | unit | weir | {baseline} | weir / {baseline} | runs |\n|---|---|---|---|---|---|");
    for row in rows {
        let (weir, kafka) = (median(&row.weir), median(&row.kafka));
        let show = |v: Option<f64>| v.map_or("-".to_owned(), |v| format!("{v:.3}"));
        let pairs: Vec<f64> = row.weir.iter().zip(&row.kafka).map(|(w, k)| w / k).collect();
        println!(
            "| {} | {} | {} | {} | {} | {:?} / {:?} |",
            row.name,
            row.unit,
            show(weir),
            show(kafka),
            show(median(&pairs)),
            rounded(&row.weir),
            rounded(&row.kafka)
        );
        println!(
            "{}",
            serde_json::json!({"bench": bench, "figure": row.name, "unit": row.unit, "weir": row.weir, "kafka": row.kafka})
        );
    }
    println!();
}

fn rounded(values: &[f64]) -> Vec<f64> {
    values.iter().map(|v| (v * 1000.0).round() / 1000.0).collect()
}
