//! What came out: tables to read, and the same as JSON.

use super::cost::Cost;
use super::ways::Bench;
use anyhow::Result;
use serde_json::{Value, json};
use std::fs;

/// All that was measured, and what it should have been.
#[derive(Default)]
pub(crate) struct Report {
    name: &'static str,
    runs: Vec<Run>,
    /// Of benches that measure no load: lines of a table, and the same as JSON.
    rows: Vec<(String, Value)>,
    goals: Vec<Goal>,
}

struct Run {
    case: &'static str,
    node: &'static str,
    way: &'static str,
    costs: Vec<Cost>,
}

/// A number, and its bound.
pub(crate) struct Goal {
    case: &'static str,
    node: &'static str,
    measure: String,
    value: f64,
    bound: f64,
    shown: String,
    goal: String,
    met: bool,
}

impl Goal {
    /// So many times faster, and at least so many.
    pub(crate) fn faster(
        case: &'static str,
        node: &'static str,
        than: &str,
        value: f64,
        bound: f64,
    ) -> Self {
        let (shown, goal) = (format!("{value:.1} times"), format!("at least {bound} times"));
        let (measure, met) = (format!("faster {than}"), value >= bound);
        Self { case, node, measure, value, bound, shown, goal, met }
    }

    /// A ratio that may not grow.
    pub(crate) fn at_most(
        case: &'static str,
        node: &'static str,
        measure: &str,
        value: f64,
        bound: f64,
    ) -> Self {
        let (shown, goal) = (format!("{value:.2} times"), format!("at most {bound} times"));
        let (measure, met) = (measure.to_owned(), value <= bound);
        Self { case, node, measure, value, bound, shown, goal, met }
    }

    pub(crate) fn seconds(case: &'static str, node: &'static str, value: f64, bound: f64) -> Self {
        let (shown, goal) = (format!("{value:.2} s"), format!("under {bound} s"));
        Self { case, node, measure: "load".into(), value, bound, shown, goal, met: value < bound }
    }

    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub(crate) fn bytes(
        case: &'static str,
        node: &'static str,
        measure: &str,
        value: u64,
        bound: u64,
    ) -> Self {
        let (shown, goal) = (human(value), format!("at most {}", human(bound)));
        let (measure, met) = (measure.to_owned(), value <= bound);
        Self { case, node, measure, value: value as f64, bound: bound as f64, shown, goal, met }
    }

    /// So many seconds at most, of the cluster as a whole.
    pub(crate) fn time(case: &'static str, measure: &str, value: f64, bound: f64) -> Self {
        Self { measure: measure.to_owned(), ..Self::seconds(case, "both", value, bound) }
    }

    /// So many at most.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub(crate) fn count(case: &'static str, measure: &str, value: usize, bound: usize) -> Self {
        let (shown, goal, met) = (value.to_string(), format!("at most {bound}"), value <= bound);
        let (value, bound, measure) = (value as f64, bound as f64, measure.to_owned());
        Self { case, node: "both", measure, value, bound, shown, goal, met }
    }

    fn json(&self) -> Value {
        json!({
            "case": self.case, "node": self.node, "measure": self.measure,
            "value": self.value, "goal": self.bound, "met": self.met,
        })
    }
}

impl Run {
    fn json(&self) -> Value {
        let values: Vec<Value> = self.costs.iter().map(Cost::json).collect();
        json!({
            "case": self.case, "node": self.node, "way": self.way,
            "median": Cost::median(&self.costs).json(), "values": values,
        })
    }
}

impl Report {
    /// One that is written to files of this name.
    pub(crate) fn of(name: &'static str) -> Self {
        Self { name, ..Self::default() }
    }

    pub(crate) fn row(&mut self, line: String, json: Value) {
        self.rows.push((line, json));
    }

    pub(crate) fn add(
        &mut self,
        case: &'static str,
        node: &'static str,
        way: &'static str,
        costs: Vec<Cost>,
    ) {
        self.runs.push(Run { case, node, way, costs });
    }

    pub(crate) fn goal(&mut self, goal: Goal) {
        self.goals.push(goal);
    }

    pub(crate) fn all_met(&self) -> bool {
        self.goals.iter().all(|goal| goal.met)
    }

    /// To `NAME.json` and `NAME.md`.
    pub(crate) fn write(&self, bench: &Bench) -> Result<()> {
        let rows = self.rows.iter().map(|(_, json)| json.clone());
        let runs: Vec<Value> = self.runs.iter().map(Run::json).chain(rows).collect();
        let goals: Vec<Value> = self.goals.iter().map(Goal::json).collect();
        let json = json!({ "machine": machine(), "runs": runs, "goals": goals });
        fs::write(bench.folder.join(format!("{}.json", self.name)), format!("{json:#}\n"))?;
        fs::write(bench.folder.join(format!("{}.md", self.name)), self.tables())?;
        Ok(())
    }

    pub(crate) fn tables(&self) -> String {
        let costs = if self.runs.is_empty() { self.times() } else { self.costs() };
        format!("{}\n{costs}{}", machine(), self.verdicts())
    }

    fn times(&self) -> String {
        let head = "\n| case | way | took | kubectl starts |\n|---|---|---|---|\n";
        let rows = self.rows.iter().map(|(line, _)| format!("{line}\n"));
        head.to_owned() + &rows.collect::<String>()
    }

    fn costs(&self) -> String {
        let head = "\n| case | node | way | load | whole command | wire | written there \
            | containerd's CPU | dockerd's CPU |\n|---|---|---|---|---|---|---|---|---|\n";
        let row = |run: &Run| {
            let cost = Cost::median(&run.costs);
            format!(
                "| {} | {} | {} | {:.2} s | {:.2} s | {} | {} | {:.2} s | {:.2} s |\n",
                run.case,
                run.node,
                run.way,
                cost.load,
                cost.command,
                human(cost.wire),
                human(cost.written),
                cost.containerd,
                cost.docker,
            )
        };
        head.to_owned() + &self.runs.iter().map(row).collect::<String>()
    }

    fn verdicts(&self) -> String {
        let head = "\n| case | node | measure | result | goal | met |\n|---|---|---|---|---|---|\n";
        let row = |goal: &Goal| {
            let met = if goal.met { "yes" } else { "**no**" };
            format!(
                "| {} | {} | {} | {} | {} | {met} |\n",
                goal.case, goal.node, goal.measure, goal.shown, goal.goal
            )
        };
        head.to_owned() + &self.goals.iter().map(row).collect::<String>()
    }
}

/// The processor, its cores, and the memory.
fn machine() -> String {
    let find = |file: &str, key: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(key)).map(str::to_owned);
        let value = line.as_deref().and_then(|line| line.split_once(':'));
        value.map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let model = find("/proc/cpuinfo", "model name");
    format!("{model}, {cores} cores, {} of memory", find("/proc/meminfo", "MemTotal"))
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn human(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.2} MB", bytes as f64 / 1e6),
    }
}
