//! The results, as Markdown tables and as JSON.

use super::cost::Cost;
use super::methods::Bench;
use anyhow::Result;
use serde_json::{Value, json};
use std::fs;

/// The measurements and the goals.
#[derive(Default)]
pub(crate) struct Report {
    name: &'static str,
    runs: Vec<Run>,
    /// Results of other benchmarks than `load`: lines of a table, and the same as JSON
    rows: Vec<(String, Value)>,
    /// Names of what could not be measured, and the reasons
    skipped: Vec<(String, String)>,
    goals: Vec<Goal>,
}

struct Run {
    case: &'static str,
    node: &'static str,
    method: &'static str,
    costs: Vec<Cost>,
}

/// A measured value and its limit.
pub(crate) struct Goal {
    case: &'static str,
    node: &'static str,
    measure: String,
    value: f64,
    limit: f64,
    shown: String,
    goal: String,
    met: bool,
}

impl Goal {
    /// Creates a goal for a minimum ratio.
    pub(crate) fn for_speedup(
        case: &'static str,
        node: &'static str,
        than: &str,
        value: f64,
        limit: f64,
    ) -> Self {
        let (shown, goal) = (format!("{value:.1} times"), format!("at least {limit} times"));
        let (measure, met) = (format!("faster {than}"), value >= limit);
        Self { case, node, measure, value, limit, shown, goal, met }
    }

    /// Creates a goal for a maximum ratio.
    pub(crate) fn for_ratio(
        case: &'static str,
        node: &'static str,
        measure: &str,
        value: f64,
        limit: f64,
    ) -> Self {
        let (shown, goal) = (format!("{value:.2} times"), format!("at most {limit} times"));
        let (measure, met) = (measure.to_owned(), value <= limit);
        Self { case, node, measure, value, limit, shown, goal, met }
    }

    /// Creates a goal for the time of a load onto a node.
    pub(crate) fn for_load_time(
        case: &'static str,
        node: &'static str,
        value: f64,
        limit: f64,
    ) -> Self {
        let (shown, goal) = (format!("{value:.2} s"), format!("under {limit} s"));
        Self { case, node, measure: "load".into(), value, limit, shown, goal, met: value < limit }
    }

    /// Creates a goal for a maximum time.
    pub(crate) fn for_seconds(
        case: &'static str,
        node: &'static str,
        measure: &str,
        value: f64,
        limit: f64,
    ) -> Self {
        let (shown, goal) = (format!("{value:.2} s"), format!("at most {limit} s"));
        let (measure, met) = (measure.to_owned(), value <= limit);
        Self { case, node, measure, value, limit, shown, goal, met }
    }

    /// Creates a goal for a maximum number of bytes.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub(crate) fn for_bytes(
        case: &'static str,
        node: &'static str,
        measure: &str,
        value: u64,
        limit: u64,
    ) -> Self {
        let (shown, goal) = (format_bytes(value), format!("at most {}", format_bytes(limit)));
        let (measure, met) = (measure.to_owned(), value <= limit);
        Self { case, node, measure, value: value as f64, limit: limit as f64, shown, goal, met }
    }

    /// Creates a goal for a maximum time on both nodes.
    pub(crate) fn for_time(case: &'static str, measure: &str, value: f64, limit: f64) -> Self {
        Self { measure: measure.to_owned(), ..Self::for_load_time(case, "both", value, limit) }
    }

    /// Creates a goal for a maximum count.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub(crate) fn for_count(case: &'static str, measure: &str, value: usize, limit: usize) -> Self {
        let (shown, goal, met) = (value.to_string(), format!("at most {limit}"), value <= limit);
        let (value, limit, measure) = (value as f64, limit as f64, measure.to_owned());
        Self { case, node: "both", measure, value, limit, shown, goal, met }
    }

    fn json(&self) -> Value {
        json!({
            "case": self.case, "node": self.node, "measure": self.measure,
            "value": self.value, "goal": self.limit, "met": self.met,
        })
    }
}

impl Run {
    fn json(&self) -> Value {
        let values: Vec<Value> = self.costs.iter().map(Cost::json).collect();
        json!({
            "case": self.case, "node": self.node, "method": self.method,
            "median": Cost::median(&self.costs).json(), "values": values,
        })
    }
}

impl Report {
    /// Creates a report for the files `NAME.json` and `NAME.md`.
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, ..Self::default() }
    }

    pub(crate) fn add_row(&mut self, line: String, json: Value) {
        self.rows.push((line, json));
    }

    pub(crate) fn add(
        &mut self,
        case: &'static str,
        node: &'static str,
        method: &'static str,
        costs: Vec<Cost>,
    ) {
        self.runs.push(Run { case, node, method, costs });
    }

    pub(crate) fn add_skipped(&mut self, name: String, reason: String) {
        self.skipped.push((name, reason));
    }

    pub(crate) fn add_goal(&mut self, goal: Goal) {
        self.goals.push(goal);
    }

    pub(crate) fn has_met_all_goals(&self) -> bool {
        self.skipped.is_empty() && self.goals.iter().all(|goal| goal.met)
    }

    /// Writes the files `NAME.json` and `NAME.md`.
    pub(crate) fn write(&self, bench: &Bench) -> Result<()> {
        let rows = self.rows.iter().map(|(_, json)| json.clone());
        let runs: Vec<Value> = self.runs.iter().map(Run::json).chain(rows).collect();
        let goals: Vec<Value> = self.goals.iter().map(Goal::json).collect();
        let json = json!({ "machine": describe_machine(), "runs": runs, "goals": goals });
        fs::write(bench.folder.join(format!("{}.json", self.name)), format!("{json:#}\n"))?;
        fs::write(bench.folder.join(format!("{}.md", self.name)), self.tables())?;
        Ok(())
    }

    pub(crate) fn tables(&self) -> String {
        let costs = if self.runs.is_empty() { self.times_table() } else { self.costs_table() };
        let skipped =
            self.skipped.iter().map(|(name, reason)| format!("\nNot measured: {name}: {reason}\n"));
        let skipped: String = skipped.collect();
        format!("{}\n{costs}{}{skipped}", describe_machine(), self.goals_table())
    }

    fn times_table(&self) -> String {
        let last =
            if self.name == "loop" { "steps and started programs" } else { "kubectl starts" };
        let head = format!("\n| case | method | time | {last} |\n|---|---|---|---|\n");
        let rows = self.rows.iter().map(|(line, _)| format!("{line}\n"));
        head + &rows.collect::<String>()
    }

    fn costs_table(&self) -> String {
        let head = "\n| case | node | method | load | whole command | wire | written on the node \
            | CPU of containerd | CPU of dockerd |\n|---|---|---|---|---|---|---|---|---|\n";
        let row = |run: &Run| {
            let cost = Cost::median(&run.costs);
            format!(
                "| {} | {} | {} | {:.2} s | {:.2} s | {} | {} | {:.2} s | {:.2} s |\n",
                run.case,
                run.node,
                run.method,
                cost.load,
                cost.command,
                format_bytes(cost.wire),
                format_bytes(cost.written),
                cost.containerd,
                cost.docker,
            )
        };
        head.to_owned() + &self.runs.iter().map(row).collect::<String>()
    }

    fn goals_table(&self) -> String {
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

/// Describes the processor, its cores, and the memory of this machine.
fn describe_machine() -> String {
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
fn format_bytes(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.2} MB", bytes as f64 / 1e6),
    }
}
