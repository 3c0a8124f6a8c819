//! A page of 100 keys deep in the list, beside the first page.

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::{
    contest::{self, Entrant},
    gatekey::{Bench, Home, Settings},
    load::{Connection, Requests},
    options::Options,
    process::Server,
    report::{Bar, Line, Plot, Section},
    request,
};

/// Relative to the first page's CPU time.
const BAR: Bar = Bar::AtMost(1.2);
/// Keys per page.
const PAGE: usize = 100;
/// Keys unless `--keys` is given.
const KEYS: usize = 100_000;

/// Pages to the end of the list and measures its last full page.
pub(crate) async fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let mut home = bench.new_home("list", None)?;
    let server = home.serve(&Settings::default())?;
    let Pages { first, deep, depth } = Pages::prepare(&mut home, &server, &bench.options).await?;
    let mut entrants = [
        Entrant::new("Gatekey, the first page", &server, first),
        Entrant::new(format!("Gatekey, the page after {depth} keys"), &server, deep),
    ];
    contest::run(&mut entrants, &bench.options).await?;
    let figures: Vec<_> = entrants.into_iter().map(|entrant| entrant.figures).collect();
    let mut section = Section::new("Pages of keys");
    section.lines.push(Line::cost(
        format!("A page of {PAGE} keys, after {depth}"),
        &figures[1],
        &figures[0],
        BAR,
    ));
    let keys = bench.options.keys_or(KEYS);
    section
        .notes
        .push(format!("{keys} keys and the admin's; pages of {PAGE} by client id, as JSON."));
    section.plots.push(Plot::cost("list", &figures));
    section.figures = figures;
    Ok(section)
}

/// Requests for the first page and the last full page.
pub(crate) struct Pages {
    pub(crate) first: Requests,
    pub(crate) deep: Requests,
    /// Keys before the deep page.
    pub(crate) depth: usize,
}

impl Pages {
    /// Creates the admin key and the keys to list.
    pub(crate) async fn prepare(
        home: &mut Home,
        server: &Server,
        options: &Options,
    ) -> anyhow::Result<Self> {
        let keys = options.keys_or(KEYS);
        ensure!(keys >= 2 * PAGE, "--keys must be at least {} to list", 2 * PAGE);
        home.init()?;
        home.make_keys(server, "listed", keys).await?;
        let token = home.log_in(server).await?;
        let (deep, depth) = last_whole_page(server, &token).await?;
        let first = Requests::again(vec![request::list(&token, PAGE, "")]);
        Ok(Self { first, deep: Requests::again(vec![deep]), depth })
    }
}

/// The request for the last full page, and the number of keys before it.
async fn last_whole_page(server: &Server, token: &str) -> anyhow::Result<(Vec<u8>, usize)> {
    let mut connection = Connection::open(&server.address).await?;
    let (mut last, mut before, mut seen) = (Vec::new(), 0, 0);
    let mut page_token = String::new();
    loop {
        let request = request::list(token, PAGE, &page_token);
        let page: Value = serde_json::from_slice(connection.call(&request).await?)?;
        let apps = page["apps"].as_array().context("a page has keys")?.len();
        if apps == PAGE {
            (last, before) = (request, seen);
        }
        seen += apps;
        match page["token"].as_str() {
            None | Some("") => return Ok((last, before)),
            Some(next) => next.clone_into(&mut page_token),
        }
    }
}
