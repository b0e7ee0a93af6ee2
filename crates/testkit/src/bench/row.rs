//! One line of the results.

use serde_json::{Value, json};

/// What a goal is held against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// The ratio to the direct connection must be at least this.
    Ratio(f64),
    /// The ratio to the direct connection must be at most this.
    RatioAtMost(f64),
    /// The figure itself must be at most this, in the row's unit.
    AtMost(f64),
    /// The figure itself must be at least this, in the row's unit.
    AtLeast(f64),
}

impl Goal {
    fn figure(self) -> f64 {
        match self {
            Self::Ratio(figure)
            | Self::RatioAtMost(figure)
            | Self::AtMost(figure)
            | Self::AtLeast(figure) => figure,
        }
    }
}

/// A figure beside those of the others.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What was done.
    pub name: String,
    /// Unit of all figures.
    pub unit: String,
    /// Loggia's figure.
    pub ours: f64,
    /// The same without anything in between: for PostgreSQL, a direct connection with TLS; for
    /// SSH, OpenSSH's client and server.
    pub direct: Option<f64>,
    /// The same directly, without TLS.
    pub direct_plain: Option<f64>,
    /// The same through the peer.
    pub peer: Option<f64>,
    /// Who the peer is.
    pub peer_name: Option<String>,
    /// `disk` or `kernel`: how safe each record was before its action was forwarded.
    pub depth: Option<String>,
    /// What the project wants in the end.
    pub goal: Option<Goal>,
    /// What must hold already.
    pub reach: Option<Goal>,
    /// What else is worth knowing.
    pub note: String,
}

impl Row {
    /// A row with nothing but our figure.
    pub fn new(name: impl Into<String>, unit: &str, ours: f64) -> Self {
        Self {
            name: name.into(),
            unit: unit.into(),
            ours,
            direct: None,
            direct_plain: None,
            peer: None,
            peer_name: None,
            depth: None,
            goal: None,
            reach: None,
            note: String::new(),
        }
    }

    /// Our figure divided by the direct one.
    pub fn ratio(&self) -> Option<f64> {
        self.direct.filter(|direct| *direct > 0.0).map(|direct| self.ours / direct)
    }

    fn meets(&self, goal: Option<Goal>) -> Option<bool> {
        match goal? {
            Goal::Ratio(goal) => self.ratio().map(|ratio| ratio >= goal),
            Goal::RatioAtMost(goal) => self.ratio().map(|ratio| ratio <= goal),
            Goal::AtMost(goal) => Some(self.ours <= goal),
            Goal::AtLeast(goal) => Some(self.ours >= goal),
        }
    }

    /// Whether the goal is met; `None` without one.
    pub fn holds(&self) -> Option<bool> {
        self.meets(self.goal)
    }

    /// The row as one JSON object.
    pub fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "unit": self.unit,
            "ours": rounded(self.ours),
            "direct": self.direct.map(rounded),
            "direct_plain": self.direct_plain.map(rounded),
            "peer": self.peer.map(rounded),
            "peer_name": self.peer_name,
            "depth": self.depth,
            "ratio": self.ratio().map(rounded),
            "goal": self.goal.map(Goal::figure).map(rounded),
            "holds": self.holds(),
            "reach": self.reach.map(Goal::figure).map(rounded),
            "reached": self.meets(self.reach),
            "note": self.note,
        })
    }

    fn cells(&self) -> Vec<String> {
        let figure = |figure: Option<f64>| figure.map(shown).unwrap_or_else(|| "-".into());
        let verdict = match (self.holds(), self.meets(self.reach)) {
            (Some(true), _) => "holds",
            (_, Some(true)) => "reached",
            (None, None) => "",
            _ => "NOT YET",
        };
        vec![
            self.name.clone(),
            self.depth.clone().unwrap_or_default(),
            shown(self.ours),
            figure(self.direct),
            self.ratio().map(|ratio| format!("{ratio:.2}")).unwrap_or_else(|| "-".into()),
            figure(self.direct_plain),
            figure(self.peer),
            self.unit.clone(),
            [self.reach, self.goal]
                .into_iter()
                .flatten()
                .map(goal_shown)
                .collect::<Vec<_>>()
                .join(" → "),
            verdict.into(),
            self.note.clone(),
        ]
    }
}

fn rounded(figure: f64) -> f64 {
    (figure * 1_000.0).round() / 1_000.0
}

fn goal_shown(goal: Goal) -> String {
    match goal {
        Goal::Ratio(figure) => format!("≥ {figure:.2}×"),
        Goal::RatioAtMost(figure) => format!("≤ {figure:.2}×"),
        Goal::AtMost(figure) => format!("≤ {}", shown(figure)),
        Goal::AtLeast(figure) => format!("≥ {}", shown(figure)),
    }
}

/// A figure with as many digits as mean something.
fn shown(figure: f64) -> String {
    match figure.abs() {
        size if size >= 1_000.0 => grouped(figure),
        size if size >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}

/// A whole number with its thousands apart.
fn grouped(figure: f64) -> String {
    let digits = format!("{figure:.0}");
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// The rows as an aligned table; names and notes to the left, figures to the right.
pub(super) fn table(rows: &[Row]) -> String {
    let peer = rows.iter().find_map(|row| row.peer_name.clone()).unwrap_or_else(|| "peer".into());
    let head = ["", "depth", "Loggia", "direct", "ratio", "plain", &peer, "unit", "goal", "", ""];
    let mut lines: Vec<Vec<String>> = vec![head.map(ToString::to_string).to_vec()];
    lines.extend(rows.iter().map(Row::cells));
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            let right = (2..=6).contains(&column);
            if right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// The figure in the middle; 0 without any.
pub(super) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ours: f64, goal: Goal) -> Row {
        Row { direct: Some(100.0), goal: Some(goal), ..Row::new("x", "tps", ours) }
    }

    #[test]
    fn goals_hold_or_do_not() {
        assert_eq!(row(70.0, Goal::Ratio(0.7)).holds(), Some(true));
        assert_eq!(row(69.0, Goal::Ratio(0.7)).holds(), Some(false));
        assert_eq!(row(120.0, Goal::RatioAtMost(1.2)).holds(), Some(true));
        assert_eq!(row(121.0, Goal::RatioAtMost(1.2)).holds(), Some(false));
        assert_eq!(row(70.0, Goal::AtMost(60.0)).holds(), Some(false));
        assert_eq!(row(70.0, Goal::AtLeast(60.0)).holds(), Some(true));
        assert_eq!(Row::new("x", "tps", 1.0).holds(), None);
    }

    #[test]
    fn a_row_has_all_keys_and_a_table_is_aligned() {
        let json = row(55.0, Goal::Ratio(0.7)).to_json();
        for key in [
            "name",
            "unit",
            "ours",
            "direct",
            "peer",
            "peer_name",
            "depth",
            "ratio",
            "goal",
            "holds",
        ] {
            assert!(json.get(key).is_some(), "{key}");
        }
        let table = table(&[row(55.0, Goal::Ratio(0.7)), row(123_456.0, Goal::AtMost(1.0))]);
        let ends: Vec<_> = table.lines().map(|line| line.find("tps")).skip(1).collect();
        assert!(ends[0].is_some() && ends[0] == ends[1], "{table}");
        assert!(table.contains("123 456"));
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(Vec::new()), 0.0);
    }
}
