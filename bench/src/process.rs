//! Servers pinned to one CPU, and their CPU time as the kernel accounts it.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, ChildStderr, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};

pub(crate) const SERVER_CPU: usize = 0;
/// The CPU of the load.
pub(crate) const GENERATOR_CPU: usize = 1;

pub(crate) fn pin_self(cpu: usize) -> anyhow::Result<()> {
    let status = Command::new("taskset")
        .args([
            "--all-tasks",
            "--pid",
            "--cpu-list",
            &cpu.to_string(),
            &std::process::id().to_string(),
        ])
        .stdout(Stdio::null())
        .status()
        .context("taskset (of util-linux) pins processes; it is missing")?;
    ensure!(status.success(), "this process cannot be pinned to processor {cpu}; two are needed");
    Ok(())
}

/// CPU time of this process so far, user and system.
pub(crate) fn own_cpu_time() -> anyhow::Result<Duration> {
    cpu_time_of("self")
}

fn cpu_time_of(process: &str) -> anyhow::Result<Duration> {
    // A thread's schedstat has nanoseconds; the process's stat has ticks. Threads that work in a
    // round live until its end, so their sum is the process's time.
    let mut nanos = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        nanos += text.split(' ').next().unwrap_or_default().parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanos))
}

/// How long processes used a CPU so far, including time stolen by other virtual machines.
/// Interrupts are left out: some kernels also charge them to the interrupted process.
pub(crate) fn busy_time(cpu: usize) -> anyhow::Result<Duration> {
    /// Fixed on Linux, whatever the kernel's own tick.
    const TICKS_A_SECOND: u64 = 100;
    let stat = fs::read_to_string("/proc/stat")?;
    let name = format!("cpu{cpu} ");
    let line =
        stat.lines().find_map(|line| line.strip_prefix(&name)).context("the processor is there")?;
    let ticks: Vec<u64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let [user, nice, system, _idle, _iowait, _irq, _softirq, steal, ..] = ticks[..] else {
        bail!("/proc/stat is not as proc(5) describes it");
    };
    Ok(Duration::from_millis((user + nice + system + steal) * 1000 / TICKS_A_SECOND))
}

/// A server on [`SERVER_CPU`], killed on drop.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
}

impl Server {
    /// Starts a command and waits for the line on standard error that `ready` recognizes. Later
    /// lines are discarded.
    ///
    /// # Errors
    /// When it does not start, or ends before that line; the error has its last line.
    pub(crate) fn start<T>(
        program: &Path,
        arguments: &[String],
        ready: impl Fn(&str) -> Option<T>,
    ) -> anyhow::Result<(Self, T)> {
        let mut child = Self::spawn(program, arguments, Stdio::piped())?;
        let stderr = child.stderr.take().context("standard error is piped")?;
        let mut server = Self { child, address: String::new() };
        let mut lines = BufReader::new(stderr);
        let (mut line, mut last) = (String::new(), String::new());
        loop {
            std::mem::swap(&mut line, &mut last);
            line.clear();
            if lines.read_line(&mut line)? == 0 {
                let status = server.child.wait()?;
                bail!("{} ended before it served, {status}: {}", program.display(), last.trim());
            }
            if let Some(found) = ready(&line) {
                drain(lines);
                return Ok((server, found));
            }
        }
    }

    /// Starts a command that will listen on an address, without waiting for it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start_on(
        address: &str,
        program: &Path,
        arguments: &[String],
    ) -> anyhow::Result<Self> {
        let child = Self::spawn(program, arguments, Stdio::null())?;
        Ok(Self { child, address: address.to_owned() })
    }

    fn spawn(program: &Path, arguments: &[String], stderr: Stdio) -> anyhow::Result<Child> {
        Command::new("taskset")
            .args(["--cpu-list", &SERVER_CPU.to_string()])
            .arg(program)
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))
    }

    /// CPU time so far, user and system.
    pub(crate) fn cpu_time(&self) -> anyhow::Result<Duration> {
        cpu_time_of(&self.child.id().to_string())
    }

    /// Resident memory in KiB.
    pub(crate) fn resident(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .context("VmRSS is shown")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }
}

/// Discards the server's log, because a full pipe would block it.
fn drain(mut lines: BufReader<ChildStderr>) {
    std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
