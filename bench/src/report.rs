//! Figures beside the bars, as tables.

use std::fmt;

use comfy_table::{ContentArrangement, Table, presets};

use crate::{
    contest::{Figures, median, ratios},
    plot::{self, Row},
    unit::Unit,
};

/// The results of a case.
pub(crate) struct Section {
    pub(crate) title: &'static str,
    /// Rows with a bar, and rows shown beside them.
    pub(crate) lines: Vec<Line>,
    /// Every server measured by CPU time.
    pub(crate) figures: Vec<Figures>,
    pub(crate) notes: Vec<String>,
    pub(crate) plots: Vec<Plot>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bar {
    AtMost(f64),
    AtLeast(f64),
    None,
}

/// A row of the table of bars. Figures are one per round; a bar applies to their median.
pub(crate) struct Line {
    what: String,
    ours: String,
    beside: String,
    compared: String,
    bar: String,
    verdict: &'static str,
    rate: String,
    p99: String,
}

/// A picture: a bar for each figure.
pub(crate) struct Plot {
    /// The file name without its extension.
    pub(crate) name: String,
    pub(crate) svg: String,
}

impl Section {
    pub(crate) fn new(title: &'static str) -> Self {
        let (lines, figures, notes, plots) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { title, lines, figures, notes, plots }
    }

    /// Notes and the table of servers, as paragraphs.
    pub(crate) fn paragraphs(&self) -> Vec<String> {
        let servers = (!self.figures.is_empty()).then(|| servers(&self.figures));
        self.notes.iter().cloned().chain(servers).collect()
    }
}

impl Line {
    /// CPU per request, beside another server's in the same rounds.
    pub(crate) fn cost(
        what: impl Into<String>,
        ours: &Figures,
        theirs: &Figures,
        bar: Bar,
    ) -> Self {
        let unit = Unit::CpuMicroseconds;
        Self {
            rate: Unit::PerSecond.show(median(&ours.rates)),
            p99: Unit::Milliseconds.show(median(&ours.p99)),
            ..Self::beside(what, (&ours.micros, unit), &theirs.name, (&theirs.micros, unit), bar)
        }
    }

    /// Requests per second, beside another server's in the same rounds.
    pub(crate) fn rate(
        what: impl Into<String>,
        ours: &Figures,
        theirs: &Figures,
        bar: Bar,
    ) -> Self {
        let unit = Unit::PerSecond;
        Self::beside(what, (&ours.rates, unit), &theirs.name, (&theirs.rates, unit), bar)
    }

    /// Figures beside others, round by round.
    pub(crate) fn beside(
        what: impl Into<String>,
        (ours, unit): (&[f64], Unit),
        name: &str,
        (theirs, their_unit): (&[f64], Unit),
        bar: Bar,
    ) -> Self {
        let ratios = ratios(ours, theirs);
        Self {
            what: what.into(),
            ours: unit.show(median(ours)),
            beside: format!("{}: {name}", their_unit.show(median(theirs))),
            compared: spread(&ratios),
            bar: bar.to_string(),
            verdict: bar.verdict(median(&ratios)),
            rate: String::new(),
            p99: String::new(),
        }
    }

    /// Figures with an absolute bar.
    pub(crate) fn alone(what: impl Into<String>, ours: &[f64], unit: Unit, bar: Bar) -> Self {
        let value = median(ours);
        let limit = match bar {
            Bar::AtMost(limit) => format!("at most {}", unit.show(limit)),
            Bar::AtLeast(limit) => format!("at least {}", unit.show(limit)),
            Bar::None => String::new(),
        };
        Self {
            what: what.into(),
            ours: unit.show(value),
            beside: String::new(),
            compared: String::new(),
            bar: limit,
            verdict: bar.verdict(value),
            rate: String::new(),
            p99: String::new(),
        }
    }
}

impl Plot {
    pub(crate) fn cost(name: impl Into<String>, figures: &[Figures]) -> Self {
        let row = |figures: &Figures| {
            Row::new(&figures.name, median(&figures.micros), Unit::CpuMicroseconds)
        };
        let mut figures: Vec<_> = figures.iter().collect();
        figures.sort_by(|one, other| median(&one.micros).total_cmp(&median(&other.micros)));
        Self::of(name, "Server CPU per request", &figures.into_iter().map(row).collect::<Vec<_>>())
    }

    pub(crate) fn of(name: impl Into<String>, title: &str, rows: &[Row]) -> Self {
        Self { name: name.into(), svg: plot::svg(title, rows) }
    }
}

impl Bar {
    fn verdict(self, value: f64) -> &'static str {
        let met = match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
            Self::None => return "",
        };
        if met { "met" } else { "MISSED" }
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(limit) => write!(formatter, "at most {limit}"),
            Self::AtLeast(limit) => write!(formatter, "at least {limit}"),
            Self::None => Ok(()),
        }
    }
}

/// The bars of all cases as one table, valid Markdown.
pub(crate) fn bars(sections: &[Section]) -> String {
    let header = ["what", "Gatekey", "beside", "ratio (range)", "bar", "", "rate", "p99"];
    let cells = |line: &Line| {
        [
            line.what.clone(),
            line.ours.clone(),
            line.beside.clone(),
            line.compared.clone(),
            line.bar.clone(),
            line.verdict.to_owned(),
            line.rate.clone(),
            line.p99.clone(),
        ]
    };
    table(header, sections.iter().flat_map(|section| section.lines.iter().map(cells)))
}

/// Every server of a case as a table, valid Markdown.
fn servers(figures: &[Figures]) -> String {
    let header = ["server", "CPU per request (range)", "rate", "p50", "p99", "busy"];
    table(
        header,
        figures.iter().map(|figures| {
            let remark = match figures.disturbance() {
                Some(share) => format!(", DISTURBED: others used {:.0} %", 100.0 * share),
                None if figures.was_busy() => String::new(),
                None => ", not the limit".to_owned(),
            };
            [
                figures.name.clone(),
                format!("{} µs", spread(&figures.micros)),
                Unit::PerSecond.show(median(&figures.rates)),
                Unit::Milliseconds.show(median(&figures.p50)),
                Unit::Milliseconds.show(median(&figures.p99)),
                format!("{:.0} %{remark}", 100.0 * median(&figures.busy)),
            ]
        }),
    )
}

/// A warning if other processes disturbed the run.
pub(crate) fn disturbance(sections: &[Section]) -> Option<String> {
    let figures = sections.iter().flat_map(|section| &section.figures);
    let most = figures.filter_map(Figures::disturbance).fold(0.0, f64::max);
    let text = format!(
        "**Disturbed**: other processes used up to {:.0} % of a measured CPU. Repeat the run on an idle \
         machine.",
        100.0 * most
    );
    (most > 0.0).then_some(text)
}

pub(crate) fn table<const N: usize>(
    header: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.to_vec());
    for row in rows {
        table.add_row(row.to_vec());
    }
    table.to_string()
}

/// The median with the range of the rounds.
fn spread(figures: &[f64]) -> String {
    let digits = if median(figures) < 10.0 { 2 } else { 1 };
    let low = figures.iter().copied().fold(f64::INFINITY, f64::min);
    let high = figures.iter().copied().fold(0.0, f64::max);
    format!("{:.digits$} ({low:.digits$} to {high:.digits$})", median(figures))
}
