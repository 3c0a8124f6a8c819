//! `gatekey doctor`: reports what is wrong, step by step, and how to fix it.
//!
//! # Layout
//! - [`server`]: goes through a client's steps to a server: [`address`], [`tls`], [`discovery`],
//!   [`login`], [`gate`], [`upstream`] and [`encoded_key`], which share [`connection`].
//! - [`store`]: inspects a data directory without changing it.
//! - [`python`]: finds the package that provides `flyteplugins.union.remote` in a Python
//!   environment.
//! - [`report`]: the steps of a check and how they are printed.
//!
//! To add a check, add a file here, a variant of [`Check`] and an arm in [`run`].

use crate::args::{Check, DataDir, Doctor, StoreCheck};

mod address;
pub(crate) mod connection;
mod discovery;
mod encoded_key;
mod gate;
mod login;
mod python;
mod report;
mod server;
mod store;
mod tls;
mod upstream;

/// Runs a check.
///
/// # Errors
/// When a step of the check failed.
pub(crate) async fn run(arguments: Doctor) -> anyhow::Result<()> {
    let Doctor { check, server, store } = arguments;
    // The short forms: `doctor URL` and `doctor --data-dir DIR`.
    let check = check.unwrap_or_else(|| match store.data_dir {
        Some(data_dir) => Check::Store(StoreCheck {
            data_dir: DataDir { data_dir: Some(data_dir) },
            root_key_file: store.root_key_file,
            output: server.output,
        }),
        None => Check::Server(Box::new(server)),
    });
    match check {
        Check::Server(arguments) => {
            let output = arguments.output;
            Box::pin(server::check(*arguments)).await?.print(output.output)
        }
        Check::Store(arguments) => {
            let StoreCheck { output, .. } = arguments;
            store::check(arguments).await.print(output.output)
        }
        Check::Python(arguments) => python::check(&arguments).print(arguments.output.output),
    }
}
