//! A pseudo-terminal, to see what people see.

use std::{
    ffi::OsStr,
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    os::unix::ffi::OsStrExt as _,
    process::{Command, ExitStatus},
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

/// What a command printed on a terminal.
pub(crate) struct Seen {
    pub(crate) status: ExitStatus,
    /// Standard output and standard error as they were written, with line feeds.
    pub(crate) raw: String,
}

impl Seen {
    /// The text without styles.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let mut rest = self.raw.as_str();
        while let Some((before, style)) = rest.split_once("\u{1b}[") {
            text.push_str(before);
            rest = style.split_once('m').unwrap_or_else(|| panic!("not a style: {style:?}")).1;
        }
        text + rest
    }
}

/// Runs a command whose standard streams are a terminal, on which somebody types `input`.
pub(crate) fn on_terminal(command: &mut Command, columns: u16, input: &str) -> Seen {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&controller).unwrap();
    unlockpt(&controller).unwrap();
    let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&controller, size).unwrap();
    let name = ptsname(&controller, Vec::new()).unwrap();
    let path = OsStr::from_bytes(name.as_bytes());
    let open = || OpenOptions::new().read(true).write(true).open(path).unwrap();
    command.stdin(open()).stdout(open()).stderr(open());
    if !command.get_envs().any(|(name, _)| name == "TERM") {
        command.env("TERM", "xterm");
    }
    let mut child = command.spawn().unwrap();
    // Its copies of the terminal must be closed, for the end of the output to be seen.
    command.stdin(std::process::Stdio::null());
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut controller = File::from(controller);
    controller.write_all(input.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    // Reading fails once the other side is closed.
    while let Ok(count @ 1..) = controller.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..count]);
    }
    let raw = String::from_utf8(bytes).unwrap().replace("\r\n", "\n");
    Seen { status: child.wait().unwrap(), raw }
}
