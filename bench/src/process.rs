//! Servers pinned to one processor, and what they cost by the kernel's account.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, ChildStderr, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, ensure};

/// Where servers run.
pub(crate) const SERVER_CPU: usize = 0;
/// Where the load is made.
pub(crate) const GENERATOR_CPU: usize = 1;

/// Pins this process.
pub(crate) fn pin_self(cpu: usize) -> anyhow::Result<()> {
    let status = Command::new("taskset")
        .args(["--all-tasks", "--pid", "--cpu-list", &cpu.to_string(), &std::process::id().to_string()])
        .stdout(Stdio::null())
        .status()
        .context("taskset (of util-linux) pins processes; it is missing")?;
    ensure!(status.success(), "this process cannot be pinned to processor {cpu}; two are needed");
    Ok(())
}

/// A server on [`SERVER_CPU`]. Killed when dropped.
pub(crate) struct Server {
    child: Child,
    /// Host and port.
    pub(crate) address: String,
}

impl Server {
    /// Starts a command and waits for a line on standard error that begins with `marker`; what follows it up to
    /// the next quote is the address. Later lines are read and thrown away.
    pub(crate) fn start(program: &str, arguments: &[&str], marker: &str) -> anyhow::Result<Self> {
        let mut child = Command::new("taskset")
            .args(["--cpu-list", &SERVER_CPU.to_string(), program])
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{program} cannot be started"))?;
        let stderr = child.stderr.take().context("standard error is piped")?;
        let mut lines = BufReader::new(stderr);
        let mut line = String::new();
        let address = loop {
            line.clear();
            ensure!(lines.read_line(&mut line)? > 0, "{program} ended before it served");
            if let Some((_, rest)) = line.split_once(marker) {
                break rest.split(['"', '\n']).next().unwrap_or_default().to_owned();
            }
        };
        drain(lines);
        Ok(Self { child, address })
    }

    /// Processor time so far, user and system.
    pub(crate) fn cpu_time(&self) -> anyhow::Result<Duration> {
        // schedstat counts nanoseconds for a thread; stat counts ticks for the process. A server's threads live
        // as long as it does, so the threads' sum is the process's.
        let mut nanos = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = fs::read_to_string(thread?.path().join("schedstat"))?;
            nanos += text.split(' ').next().unwrap_or_default().parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// Resident memory in KiB.
    pub(crate) fn resident(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS is shown")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }
}

/// A full pipe would stop the server; its log lines are part of what it costs, reading them is not.
fn drain(mut lines: BufReader<ChildStderr>) {
    std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
