//! Figures beside the design's bars, as tables.

use std::fmt;

use comfy_table::{ContentArrangement, Table, presets};

use crate::{
    contest::{Figures, median, ratios},
    plot::{self, Row},
};

/// What a case gave.
pub(crate) struct Section {
    /// For people.
    pub(crate) title: &'static str,
    /// What has a bar, or is shown beside what has.
    pub(crate) lines: Vec<Line>,
    /// Every server that was measured by what it costs.
    pub(crate) figures: Vec<Figures>,
    /// What to know of it.
    pub(crate) notes: Vec<String>,
    /// Its pictures.
    pub(crate) plots: Vec<Plot>,
}

/// What is promised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bar {
    /// So much or less.
    AtMost(f64),
    /// So much or more.
    AtLeast(f64),
    /// Nothing; shown beside.
    None,
}

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Processor time.
    CpuMicroseconds,
    /// Time.
    Microseconds,
    /// Time.
    Milliseconds,
    /// Memory.
    Mebibytes,
    /// Memory.
    Bytes,
    /// Rate.
    PerSecond,
}

/// A row of the table of bars. Figures are one a round; a bar holds their median.
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
    /// Of its file, without the ending.
    pub(crate) name: String,
    /// The file's text.
    pub(crate) svg: String,
}

impl Section {
    /// Without figures.
    pub(crate) fn new(title: &'static str) -> Self {
        let (lines, figures, notes, plots) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { title, lines, figures, notes, plots }
    }

    /// Everything but bars and plots: paragraphs.
    pub(crate) fn paragraphs(&self) -> Vec<String> {
        let servers = (!self.figures.is_empty()).then(|| servers(&self.figures));
        self.notes.iter().cloned().chain(servers).collect()
    }
}

impl Line {
    /// What a request costs, beside another's cost in the same rounds.
    pub(crate) fn cost(what: impl Into<String>, ours: &Figures, theirs: &Figures, bar: Bar) -> Self {
        let unit = Unit::CpuMicroseconds;
        Self {
            rate: Unit::PerSecond.show(median(&ours.rates)),
            p99: Unit::Milliseconds.show(median(&ours.p99)),
            ..Self::beside(what, (&ours.micros, unit), &theirs.name, (&theirs.micros, unit), bar)
        }
    }

    /// Requests a second, beside another's in the same rounds.
    pub(crate) fn rate(what: impl Into<String>, ours: &Figures, theirs: &Figures, bar: Bar) -> Self {
        let unit = Unit::PerSecond;
        Self::beside(what, (&ours.rates, unit), &theirs.name, (&theirs.rates, unit), bar)
    }

    /// Figures and those beside them, round by round.
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

    /// Figures that have a bar of their own.
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
    /// What requests cost.
    pub(crate) fn cost(name: impl Into<String>, figures: &[Figures]) -> Self {
        let row = |figures: &Figures| Row::new(&figures.name, median(&figures.micros), Unit::CpuMicroseconds);
        let mut figures: Vec<_> = figures.iter().collect();
        figures.sort_by(|one, other| median(&one.micros).total_cmp(&median(&other.micros)));
        Self::of(name, "Server CPU per request", &figures.into_iter().map(row).collect::<Vec<_>>())
    }

    /// Any figures of one kind.
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

impl Unit {
    /// A figure with its unit.
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::CpuMicroseconds => format!("{value:.1} µs CPU"),
            Self::Microseconds => format!("{value:.0} µs"),
            Self::Milliseconds => format!("{value:.2} ms"),
            Self::Mebibytes => format!("{value:.1} MiB"),
            Self::Bytes => format!("{value:.0} bytes"),
            Self::PerSecond => format!("{value:.0}/s"),
        }
    }
}

/// The bars of all cases, in one table that is Markdown as well.
pub(crate) fn bars(sections: &[Section]) -> String {
    let header = ["what", "Gatekey", "beside", "ratio (of the rounds)", "bar", "", "rate", "p99"];
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

/// Every server of a case, in a table that is Markdown as well.
fn servers(figures: &[Figures]) -> String {
    let header = ["server", "CPU a request (of the rounds)", "rate", "p50", "p99", "busy"];
    table(
        header,
        figures.iter().map(|figures| {
            let remark = match figures.disturbance() {
                Some(share) => format!(", DISTURBED: others had {:.0} %", 100.0 * share),
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

/// What to know of the run as a whole: how far others disturbed it, if they did.
pub(crate) fn disturbance(sections: &[Section]) -> Option<String> {
    let figures = sections.iter().flat_map(|section| &section.figures);
    let most = figures.filter_map(Figures::disturbance).fold(0.0, f64::max);
    let text = format!(
        "**Disturbed**: other processes had up to {:.0} % of a processor that was measured. Take the figures on a \
         machine with nothing else to do.",
        100.0 * most
    );
    (most > 0.0).then_some(text)
}

pub(crate) fn table<const N: usize>(header: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.to_vec());
    for row in rows {
        table.add_row(row.to_vec());
    }
    table.to_string()
}

/// The median, and from where to where the rounds went.
fn spread(figures: &[f64]) -> String {
    let digits = if median(figures) < 10.0 { 2 } else { 1 };
    let low = figures.iter().copied().fold(f64::INFINITY, f64::min);
    let high = figures.iter().copied().fold(0.0, f64::max);
    format!("{:.digits$} ({low:.digits$} to {high:.digits$})", median(figures))
}
