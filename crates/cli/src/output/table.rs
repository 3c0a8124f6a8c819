//! Tables of text without borders.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr};

use super::text::{bold, printable, terminal_width};

/// The columns between two cells, and on a terminal that is too narrow for them.
const GAP: usize = 2;
const NARROW_GAP: usize = 1;

/// Returns a table. Cells may be text from elsewhere.
///
/// Each row is one line, unless standard output is a terminal that is too narrow: then cells wrap.
pub(crate) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|row| row.iter().map(|cell| printable(cell).into_owned()).collect())
        .collect();
    layout(header, rows, terminal_width())
}

fn layout(header: &[&str], mut rows: Vec<Vec<String>>, terminal: Option<usize>) -> String {
    let natural = widths(header, &rows);
    let width = |widths: &[usize], gap: usize| {
        widths.iter().sum::<usize>() + gap * widths.len().saturating_sub(1)
    };
    let (widths, gap) = match terminal {
        Some(terminal) if width(&natural, GAP) > terminal => {
            rows.iter_mut().flatten().for_each(break_date);
            let gaps = NARROW_GAP * header.len().saturating_sub(1);
            (fitted(header, &rows, natural, terminal.saturating_sub(gaps)), NARROW_GAP)
        }
        _ => (natural, GAP),
    };
    let mut lines = Vec::new();
    let header = header.iter().map(|title| (*title).to_owned()).collect();
    for (number, row) in std::iter::once(header).chain(rows).enumerate() {
        let cells: Vec<Vec<String>> =
            row.iter().zip(&widths).map(|(cell, width)| wrap(cell, *width)).collect();
        for line in 0..cells.iter().map(Vec::len).max().unwrap_or_default() {
            let mut text = String::new();
            // Spaces are written before the next cell, so that no line ends with them.
            let mut spaces = 0;
            for (cell, width) in cells.iter().zip(&widths) {
                let part = cell.get(line).map_or("", String::as_str);
                if !part.is_empty() {
                    text.push_str(&" ".repeat(spaces));
                    spaces = 0;
                    text.push_str(&if number == 0 { bold(part) } else { part.to_owned() });
                }
                spaces += width.saturating_sub(part.width()) + gap;
            }
            lines.push(text);
        }
    }
    lines.join("\n")
}

/// The widths at which no cell wraps.
fn widths(header: &[&str], rows: &[Vec<String>]) -> Vec<usize> {
    let column = |at: usize| rows.iter().filter_map(move |row| row.get(at));
    let widest = |at| column(at).map(|cell| cell.width()).max().unwrap_or_default();
    header.iter().enumerate().map(|(at, title)| title.width().max(widest(at))).collect()
}

/// The widths at which the table fits. Words are broken only if there is no other way.
fn fitted(
    header: &[&str],
    rows: &[Vec<String>],
    mut widths: Vec<usize>,
    room: usize,
) -> Vec<usize> {
    let longest_words: Vec<usize> = (0..widths.len())
        .map(|at| {
            let cells = rows.iter().filter_map(|row| row.get(at).map(String::as_str));
            let words = cells.chain([header[at]]).flat_map(|cell| cell.split(' '));
            words.map(UnicodeWidthStr::width).max().unwrap_or_default()
        })
        .collect();
    for at_least in [longest_words, vec![4; widths.len()], vec![1; widths.len()]] {
        while widths.iter().sum::<usize>() > room {
            let widest = (0..widths.len())
                .filter(|at| widths[*at] > at_least[*at])
                .max_by_key(|at| widths[*at]);
            let Some(widest) = widest else { break };
            widths[widest] -= 1;
        }
    }
    widths
}

/// Lets a date wrap between day and time, which RFC 3339 section 5.6 allows to be separated by a
/// space.
fn break_date(cell: &mut String) {
    let is_date = cell.len() >= 20 && cell.ends_with('Z') && cell.as_bytes()[10] == b'T';
    if is_date && cell.is_ascii() {
        cell.replace_range(10..11, " ");
    }
}

/// Splits a cell into lines that are at most `width` wide: at spaces, else anywhere.
fn wrap(cell: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in cell.split(' ') {
        if !line.is_empty() && line.width() + 1 + word.width() > width {
            lines.push(std::mem::take(&mut line));
        } else if !line.is_empty() {
            line.push(' ');
        }
        for character in word.chars() {
            let next = character.width().unwrap_or_default();
            if next > 0 && !line.is_empty() && line.width() + next > width {
                lines.push(std::mem::take(&mut line));
            }
            line.push(character);
        }
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rows(rows: &[&[&str]]) -> Vec<Vec<String>> {
        rows.iter().map(|row| row.iter().map(|&cell| cell.to_owned()).collect()).collect()
    }

    #[test]
    fn a_columns_width_is_what_is_seen() {
        let table = layout(&["ID", "NAME"], rows(&[&["日本", "e\u{301}"], &["a", "b"]]), Some(80));
        assert_eq!(table, "ID    NAME\n日本  e\u{301}\na     b");
    }

    #[test]
    fn a_narrow_terminal_breaks_dates_before_words() {
        let cells: &[&[&str]] = &[&["ci-pipeline", "2026-11-28T09:41:07Z", "a-long-name"]];
        let table = layout(&["ID", "CREATED", "NAME"], rows(cells), Some(34));
        assert_eq!(
            table,
            "ID          CREATED    NAME\nci-pipeline 2026-11-28 a-long-name\n            09:41:07Z"
        );
    }

    proptest! {
        #[test]
        fn a_table_fits_its_terminal(
            cells in prop::collection::vec(prop::collection::vec("[a-z日 ]{0,30}", 5..=5), 1..5),
            width in 20_usize..120,
        ) {
            let table = layout(&["A", "BB", "CCC", "D", "E E"], cells.clone(), Some(width));
            for line in table.lines() {
                prop_assert!(line.width() <= width, "{}", table);
            }
            let seen = |text: &str| text.chars().filter(|c| !c.is_whitespace()).count();
            let all: usize = cells.iter().flatten().map(|cell| seen(cell)).sum();
            prop_assert_eq!(seen(&table), all + 9);
        }
    }
}
