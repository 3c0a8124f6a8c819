//! docs/performance.md: the figures, how they were measured, and on which machine.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::Context as _;

use crate::{
    machine,
    options::Options,
    report::{self, Section},
};

/// Columns of the page's text.
const WIDTH: usize = 100;

const METHOD: [&str; 4] = [
    "Every figure has a floor or a peer beside it from the same run, because the same machine gives different figures \
     on another day. A floor is a real server on the same HTTP stack whose handler does only the named work (nothing, \
     one signature, one verification) and answers with the same number of bytes. A ratio shows what Gatekey adds to \
     the unavoidable cost.",
    "Servers run on one CPU, the load on another. *CPU* is the server's CPU time per request, user and system, as the \
     kernel accounts it; it depends little on the rate of requests. The load is a closed loop: each connection sends \
     its next request when it has its answer, so rates and latencies are those of a saturated server. A server that \
     used less than 90 % of its CPU was *not the limit*: its rate is that of the load or of the disk. A server is \
     marked *disturbed* if other processes used more than a tenth of either CPU.",
    "Servers take turns within a round. Figures are medians of the rounds, ratios are medians of the ratios of each \
     round, with the range in parentheses. Gatekey logs every request, as it does by default.",
    "[profile.md](performance/profile.md) (`bench/profile`) breaks down what a request is spent on, in Gatekey and in \
     its floor, and shows where the difference comes from when a bar is missed.",
];

/// Writes the page and its plots.
///
/// # Errors
/// When git has no date, or a file cannot be written.
pub(crate) fn write(sections: &[Section], options: &Options) -> anyhow::Result<()> {
    let date = options.date.clone().map_or_else(machine::date, Ok)?;
    let plots = options.docs.join("performance");
    fs::create_dir_all(&plots)?;
    for plot in sections.iter().flat_map(|section| &section.plots) {
        fs::write(plots.join(&plot.name).with_extension("svg"), &plot.svg)?;
    }
    let page = options.docs.join("performance.md");
    let own = std::env::current_exe()?;
    let directory = own.parent().context("the program is in a directory")?;
    fs::write(&page, text(sections, options, &date, directory)?)?;
    println!("\nwritten: {}", page.display());
    Ok(())
}

fn text(
    sections: &[Section],
    options: &Options,
    date: &str,
    directory: &Path,
) -> anyhow::Result<String> {
    let mut text =
        format!("# Performance\n\nMeasured and written by `bench/run --write`, {date}.\n\n");
    if let Some(disturbance) = report::disturbance(sections) {
        let _ = writeln!(text, "{disturbance}\n");
    }
    let _ = writeln!(text, "{}\n", report::bars(sections));
    let _ = writeln!(text, "## How it was measured\n");
    for paragraph in METHOD {
        let _ = writeln!(text, "{}\n", wrap(paragraph));
    }
    let (rounds, seconds, connections) = (options.rounds, options.seconds, options.connections);
    let _ = writeln!(
        text,
        "{rounds} rounds of {seconds} s after a warm-up round, {connections} connections unless stated \
         otherwise.\n"
    );
    for fact in machine::facts(directory)?.into_iter().chain(machine::versions()?) {
        let _ = writeln!(text, "- {fact}");
    }
    for section in sections {
        let _ = writeln!(text, "\n## {}", section.title);
        for paragraph in section.paragraphs() {
            let _ = writeln!(text, "\n{}", wrap(&paragraph));
        }
        text.push('\n');
        for plot in &section.plots {
            let _ = writeln!(text, "![{}](performance/{}.svg)", section.title, plot.name);
        }
    }
    Ok(text)
}

/// Breaks a paragraph into lines of at most [`WIDTH`] columns. A table stays as it is.
fn wrap(paragraph: &str) -> String {
    if paragraph.starts_with('|') {
        return paragraph.to_owned();
    }
    let mut text = String::with_capacity(paragraph.len());
    let mut column = 0;
    for word in paragraph.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > WIDTH {
            text.push('\n');
            column = 0;
        } else if column > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paragraph_is_wrapped_between_words() {
        let paragraph = "twelve chars ".repeat(20);
        let wrapped = wrap(&paragraph);
        assert!(wrapped.lines().all(|line| line.len() <= WIDTH), "{wrapped}");
        assert_eq!(
            wrapped.split_whitespace().collect::<Vec<_>>(),
            paragraph.split_whitespace().collect::<Vec<_>>()
        );
        let table = format!("| {} |", "wide ".repeat(40));
        assert_eq!(wrap(&table), table);
    }
}
