//! From a name to a connection.

use std::{io, net::SocketAddr};

use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};

use super::{
    connection::{PATIENCE, Target},
    report::Step,
};

/// Asks the system where a name leads.
pub(super) async fn look_up(target: &Target) -> (Step, Vec<SocketAddr>) {
    const NAME: &str = "name";
    let host = target.host();
    let looked_up = timeout(PATIENCE, lookup_host((host, target.port()))).await;
    let addresses: Vec<_> = match looked_up {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => {
            let mend = "check the name; let its DNS zone, or /etc/hosts on this machine, say where it is";
            return (Step::failed(NAME, format!("{host} is not known here: {error}"), mend), Vec::new());
        }
        Err(_) => {
            let mend = "check /etc/resolv.conf: the DNS server it names does not answer";
            return (Step::failed(NAME, format!("nobody answers where {host} is"), mend), Vec::new());
        }
    };
    if addresses.is_empty() {
        let mend = "give the name an A or AAAA record";
        return (Step::failed(NAME, format!("{host} has no address"), mend), addresses);
    }
    let shown: Vec<_> = addresses.iter().map(|address| address.ip().to_string()).collect();
    (Step::ok(NAME, format!("{host} is at {}", shown.join(", "))), addresses)
}

/// Connects to each address, and gives the first that accepts.
pub(super) async fn connect(addresses: &[SocketAddr]) -> (Step, Option<SocketAddr>) {
    const NAME: &str = "TCP";
    let (mut reached, mut failures) = (None, Vec::new());
    for address in addresses {
        match timeout(PATIENCE, TcpStream::connect(address)).await {
            Ok(Ok(_)) => reached = reached.or(Some(*address)),
            Ok(Err(error)) => failures.push((address, refusal(&error))),
            Err(_) => failures.push((address, "does not answer")),
        }
    }
    let shown: Vec<_> = failures.iter().map(|(address, why)| format!("{address} {why}")).collect();
    let shown = shown.join(", ");
    let mend = "start the server, let it --listen on that address and port, and let firewalls pass it";
    let step = match reached {
        None => Step::failed(NAME, shown, mend),
        Some(address) if failures.is_empty() => Step::ok(NAME, format!("{address} accepts")),
        Some(address) => {
            let mend = "let the server listen on every address of its name, or take the others out of DNS";
            Step::warning(NAME, format!("{address} accepts, but {shown}"), mend)
        }
    };
    (step, reached)
}

fn refusal(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "refuses: nobody listens there",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "cannot be reached from here",
        _ => "does not accept",
    }
}
