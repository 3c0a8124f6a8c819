//! Steps from a host name to a TCP connection.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use gatekey_outbound::Proxy;
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};

use super::{
    connection::{STEP_TIMEOUT, Target, causes},
    report::Step,
};

const TCP: &str = "TCP";

/// Resolves the server's name as the system does.
pub(super) async fn look_up(target: &Target) -> (Step, Vec<SocketAddr>) {
    const NAME: &str = "name";
    let host = target.host();
    if let Some(proxy) = target.proxy() {
        let found = format!("the proxy {proxy} resolves {host}");
        return (Step::ok(NAME, found), Vec::new());
    }
    let addresses: Vec<_> = match timeout(STEP_TIMEOUT, lookup_host((host, target.port()))).await {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => {
            let fix = "check the spelling; if it is right, add the name to DNS or to /etc/hosts on this machine";
            return (
                Step::failed(NAME, format!("cannot resolve {host}: {error}"), fix),
                Vec::new(),
            );
        }
        Err(_) => {
            let fix = "check the DNS servers in /etc/resolv.conf";
            return (
                Step::failed(
                    NAME,
                    format!("cannot resolve {host}: the DNS server did not answer"),
                    fix,
                ),
                Vec::new(),
            );
        }
    };
    if addresses.is_empty() {
        let fix = "add an A or AAAA record for the name";
        return (Step::failed(NAME, format!("{host} has no address"), fix), addresses);
    }
    let found = if host.parse::<IpAddr>().is_ok() {
        format!("{host} is an address, so no name is resolved")
    } else {
        let shown: Vec<_> = addresses.iter().map(|address| address.ip().to_string()).collect();
        format!("{host} resolves to {}", shown.join(", "))
    };
    (Step::ok(NAME, found), addresses)
}

/// Connects through the proxy.
pub(super) async fn connect_through(target: &Target, proxy: &Proxy) -> Step {
    match target.tcp().await {
        Ok(_) => Step::ok(TCP, format!("the proxy {proxy} connects to {}", target.endpoint())),
        Err(error) => {
            let fix = "check the URL of the proxy; to connect without it, add the host to NO_PROXY";
            Step::failed(TCP, causes(&error), fix)
        }
    }
}

/// Connects to each address. Returns the first one that accepts the connection.
pub(super) async fn connect(addresses: &[SocketAddr]) -> (Step, Option<SocketAddr>) {
    let (mut reached, mut failures) = (None, Vec::new());
    for address in addresses {
        match timeout(STEP_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(_)) => reached = reached.or(Some(*address)),
            Ok(Err(error)) => failures.push((address, reason(&error))),
            Err(_) => failures.push((address, "does not answer")),
        }
    }
    let shown: Vec<_> = failures.iter().map(|(address, why)| format!("{address} {why}")).collect();
    let shown = shown.join(", ");
    let step = match reached {
        None => {
            let fix =
                "start the server with --listen on this address and port, and open it in firewalls";
            Step::failed(TCP, shown, fix)
        }
        Some(address) if failures.is_empty() => {
            Step::ok(TCP, format!("{address} accepts the connection"))
        }
        Some(address) => {
            let fix =
                "let the server listen on every address of its name, or remove the others from DNS";
            Step::warning(TCP, format!("{address} accepts the connection, but {shown}"), fix)
        }
    };
    (step, reached)
}

fn reason(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "refuses the connection: nothing listens on the port",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            "cannot be reached from this machine"
        }
        _ => "does not accept the connection",
    }
}
