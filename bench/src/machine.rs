//! The machine, as its kernel describes it, and the versions of the measured programs.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, ensure};

/// CPUs, memory, file system and kernel, one per line.
pub(crate) fn facts(directory: &Path) -> anyhow::Result<Vec<String>> {
    let processors = fs::read_to_string("/proc/cpuinfo")?;
    let model = value(&processors, "model name").unwrap_or("of an unnamed model");
    let count = processors.lines().filter(|line| line.starts_with("processor")).count();
    let memory = fs::read_to_string("/proc/meminfo")?;
    let memory = value(&memory, "MemTotal")
        .and_then(|memory| memory.strip_suffix(" kB")?.parse::<u64>().ok());
    let memory = memory.context("/proc/meminfo has MemTotal in kB")? / 1024;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(vec![
        format!("{count} processors: {model}"),
        format!("{memory} MiB of memory"),
        format!("The data directory on {}", filesystem(directory)?),
        format!("Linux {}", kernel.trim()),
    ])
}

/// The commit and the compiler.
pub(crate) fn versions() -> anyhow::Result<Vec<String>> {
    let commit = output("git", &["rev-parse", "--short=12", "HEAD"])?;
    let changed = if output("git", &["status", "--porcelain", "--untracked-files=no"])?.is_empty() {
        ""
    } else {
        ", and changes"
    };
    Ok(vec![
        format!("Gatekey {}, commit {commit}{changed}", env!("CARGO_PKG_VERSION")),
        output("rustc", &["--version"])?,
    ])
}

/// The date of the commit, as YYYY-MM-DD.
pub(crate) fn date() -> anyhow::Result<String> {
    output("git", &["log", "--max-count=1", "--format=%cs"])
}

fn value<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim())
}

/// The type of the file system that holds the directory.
fn filesystem(directory: &Path) -> anyhow::Result<String> {
    let directory = directory.canonicalize()?;
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mount = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            Some((fields.next()?, fields.next()?))
        })
        .filter(|(point, _)| directory.starts_with(point))
        .max_by_key(|(point, _)| point.len());
    Ok(mount.context("every directory is on a mount")?.1.to_owned())
}

fn output(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("{program} cannot be started"))?;
    ensure!(
        output.status.success(),
        "{program} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
