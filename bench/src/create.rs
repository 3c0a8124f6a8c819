//! A key made, acknowledged and durable: one caller beside an fsync, and many callers beside one.

use std::{
    fs::File,
    io::Write as _,
    time::{Duration, Instant},
};

use crate::{
    contest::{self, Entrant, median},
    gatekey::{Bench, CALLERS, Settings, name},
    load::{Connection, Requests},
    plot::Row,
    report::{Bar, Line, Plot, Section, Unit},
    request,
};

/// Of the time of an fsync.
const ONE_CALLER_BAR: Bar = Bar::AtMost(1.5);
/// Of the rate of one caller.
const CALLERS_BAR: Bar = Bar::AtLeast(20.0);
/// The small append: a page of the database.
const APPENDED: [u8; 4096] = [1; 4096];
/// More keys a second than can be made, so that requests do not run out.
const MOST_KEYS_A_SECOND: u64 = 20_000;

/// Measures both, in each round.
pub(crate) async fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let options = &bench.options;
    let mut home = bench.new_home("create")?;
    let server = home.serve(&Settings::default())?;
    home.init()?;
    let token = home.log_in(&server).await?;
    let mut appended = File::create(bench.directory().join("appended"))?;
    let (mut fsyncs, mut creates, mut rates_of_one) = (Vec::new(), Vec::new(), Vec::new());
    let entrant = Entrant::without_requests(format!("Gatekey, a key made, {CALLERS} callers"), &server);
    let mut entrants = [entrant.with_connections(CALLERS)];
    for round in 0..=options.rounds {
        let prefix = format!("one-{round}");
        let mut connection = Connection::open(&server.address).await?;
        let (mut fsync, mut create) = (Vec::new(), Vec::new());
        let started = Instant::now();
        // In turn, so that both meet the disk as it is.
        while started.elapsed() < options.duration() {
            let began = Instant::now();
            appended.write_all(&APPENDED)?;
            // As SQLite does it.
            appended.sync_data()?;
            fsync.push(began.elapsed());
            let wanted = request::create(&token, &name(&prefix, create.len()));
            let began = Instant::now();
            connection.call(&wanted).await?;
            create.push(began.elapsed());
        }
        let prefix = format!("many-{round}");
        let wanted = usize::try_from(MOST_KEYS_A_SECOND * options.seconds)?;
        let wanted = (0..wanted).map(|number| request::create(&token, &name(&prefix, number)));
        entrants[0].requests = Requests::once(wanted.collect());
        contest::round(&mut entrants, options, round).await?;
        if round > 0 {
            fsyncs.push(median(&micros(&fsync)));
            creates.push(median(&micros(&create)));
            rates_of_one.push(rate(&create));
        }
    }
    let [entrant] = entrants;
    let many = entrant.figures;
    let mut section = Section::new("Keys made");
    let fsync = "an fsync of 4 KiB appended";
    section.lines.push(Line::beside(
        "A key made, one caller",
        (&creates, Unit::Microseconds),
        fsync,
        (&fsyncs, Unit::Microseconds),
        ONE_CALLER_BAR,
    ));
    section.lines.push(Line::beside(
        format!("Keys made a second, {CALLERS} callers"),
        (&many.rates, Unit::PerSecond),
        "one caller",
        (&rates_of_one, Unit::PerSecond),
        CALLERS_BAR,
    ));
    section.notes.push(
        "Each key is acknowledged after its commit is on the disk. One caller and the fsync (fdatasync, as SQLite \
         does it, on the same disk) take turns; medians of each round."
            .to_owned(),
    );
    let rows = [
        Row::new(&format!("floor, {fsync}"), median(&fsyncs), Unit::Microseconds),
        Row::new("Gatekey, a key made, one caller", median(&creates), Unit::Microseconds),
    ];
    section.plots.push(Plot::of("create", "Time of one caller", &rows));
    section.figures.push(many);
    Ok(section)
}

fn micros(times: &[Duration]) -> Vec<f64> {
    times.iter().map(|time| time.as_secs_f64() * 1e6).collect()
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn rate(times: &[Duration]) -> f64 {
    times.len() as f64 / times.iter().sum::<Duration>().as_secs_f64()
}
