//! Plots as SVG: one horizontal bar per figure.

use std::fmt::Write as _;

use crate::unit::Unit;

const LABELS: f64 = 370.0;
const BARS: f64 = 360.0;
const FIGURES: f64 = 110.0;
const ROW: f64 = 28.0;
const TOP: f64 = 44.0;

/// A bar of a plot.
pub(crate) struct Row {
    label: String,
    value: f64,
    unit: Unit,
}

impl Row {
    pub(crate) fn new(label: &str, value: f64, unit: Unit) -> Self {
        Self { label: label.to_owned(), value, unit }
    }
}

/// Draws the rows in order. Gatekey, floors and peers have a color each.
pub(crate) fn svg(title: &str, rows: &[Row]) -> String {
    let count = f64::from(u32::try_from(rows.len()).expect("rows are few"));
    let (width, height) = (LABELS + BARS + FIGURES, TOP + ROW * count + 8.0);
    let longest = rows.iter().map(|row| row.value).fold(f64::MIN_POSITIVE, f64::max);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"system-ui, sans-serif\" font-size=\"13\" fill=\"#1f2328\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"12\" y=\"26\" font-size=\"15\" font-weight=\"600\">{}</text>\n",
        escaped(title)
    );
    let mut top = TOP;
    for row in rows {
        let length = (BARS * row.value / longest).max(1.0);
        let text = top + 17.0;
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{text:.1}\" text-anchor=\"end\">{}</text>\n\
             <rect x=\"{LABELS:.1}\" y=\"{:.1}\" width=\"{length:.1}\" height=\"18\" rx=\"2\" fill=\"{}\"/>\n\
             <text x=\"{:.1}\" y=\"{text:.1}\">{}</text>",
            LABELS - 8.0,
            escaped(&row.label),
            top + 3.0,
            colour(&row.label),
            LABELS + length + 6.0,
            escaped(&row.unit.show(row.value)),
        );
        top += ROW;
    }
    svg.push_str("</svg>\n");
    svg
}

fn colour(label: &str) -> &'static str {
    if label.starts_with("Gatekey") {
        "#1f6feb"
    } else if label.starts_with("floor") {
        "#afb8c1"
    } else {
        "#d4883a"
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_figure_has_the_longest_bar() {
        let rows = [
            Row::new("floor", 1.0, Unit::Microseconds),
            Row::new("Gatekey", 2.0, Unit::Microseconds),
        ];
        let drawn = svg("times", &rows);
        let width = |colour: &str| {
            let bar = drawn.lines().find(|line| line.contains(colour)).unwrap();
            bar.split("width=\"").nth(1).unwrap().split('"').next().unwrap().parse::<f64>().unwrap()
        };
        assert!((width("#1f6feb") - 2.0 * width("#afb8c1")).abs() < 0.2);
    }

    #[test]
    fn a_label_is_text_and_never_markup() {
        assert!(svg("a <b> & c", &[]).contains("a &lt;b&gt; &amp; c"));
    }
}
