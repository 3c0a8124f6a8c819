//! docs/performance.md: the figures, how they were taken, and on what.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::Context as _;

use crate::{
    Options, machine,
    report::{self, Section},
};

const METHOD: &str = "\
Every figure has a floor or a peer beside it that was measured in the same run, because the same machine gives other
figures on another day. A floor is a real server of the same HTTP stack whose handler does only the named work (nothing,
one signature, one verification) and answers as many bytes: a ratio says what Gatekey adds to what cannot be avoided.

Servers run on one processor, the load on another. *CPU* is the server's processor time, user and system, by the
kernel's account, for each request: it depends little on how fast the load comes. The load is a closed loop, in which each
connection sends its next request when it has its answer, so rates and latencies are those of a full server. Where a
server's processor was busy less than 90 % of the time it was *not the limit*: the rate is that of the load, or of the disk.
A server is marked *disturbed* where others had more than a tenth of either processor.

Servers take turns within a round. Figures are medians of the rounds, ratios are medians of each round's ratio, and in
brackets is from where to where they went. Gatekey logs every request, as it does by default.

What a request is spent on, in Gatekey and in its floor, is counted in [profile.md](performance/profile.md)
(`bench/profile`): where a bar is missed it shows what the difference is made of.
";

/// Writes the page and its plots.
///
/// # Errors
/// When git tells no date, or a file cannot be written.
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

fn text(sections: &[Section], options: &Options, date: &str, directory: &Path) -> anyhow::Result<String> {
    let mut text = format!("# Performance\n\n`bench/run --write` measured this and wrote it, {date}.\n\n");
    if let Some(disturbance) = report::disturbance(sections) {
        let _ = writeln!(text, "{disturbance}\n");
    }
    let _ = writeln!(text, "{}\n", report::bars(sections));
    let _ = writeln!(text, "## How it was measured\n\n{METHOD}");
    let (rounds, seconds, connections) = (options.rounds, options.seconds, options.connections);
    let _ = writeln!(
        text,
        "{rounds} rounds of {seconds} s after one that warms up, {connections} connections where nothing else is \
         said.\n"
    );
    for fact in machine::facts(directory)?.into_iter().chain(machine::versions()?) {
        let _ = writeln!(text, "- {fact}");
    }
    for section in sections {
        let _ = writeln!(text, "\n## {}", section.title);
        for paragraph in section.paragraphs() {
            let _ = writeln!(text, "\n{paragraph}");
        }
        text.push('\n');
        for plot in &section.plots {
            let _ = writeln!(text, "![{}](performance/{}.svg)", section.title, plot.name);
        }
    }
    Ok(text)
}
