//! Durable key creation: one caller beside an fsync, and many callers beside one.

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    contest::{self, Entrant, median},
    gatekey::{Bench, CALLERS, Settings, name},
    load::{Connection, Requests},
    options::Options,
    plot::Row,
    process::Server,
    report::{Bar, Line, Plot, Section},
    request,
    unit::Unit,
};

/// Relative to the time of an fsync of a small append.
const ONE_CALLER_BAR: Bar = Bar::AtMost(1.5);
/// Relative to the rate of one caller.
const CALLERS_BAR: Bar = Bar::AtLeast(20.0);
/// Written before each fsync: one page of the database.
const PAGE: [u8; 4096] = [1; 4096];
/// More keys per second than any server creates, so that requests do not run out.
const MOST_KEYS_A_SECOND: u64 = 20_000;

/// Measures one caller and many callers in each round.
pub(crate) async fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let options = &bench.options;
    let mut home = bench.new_home("create", None)?;
    let server = home.serve(&Settings::default())?;
    home.init()?;
    let token = home.log_in(&server).await?;
    let mut disk = Disk::new(bench.directory())?;
    let mut one = OneCaller::default();
    let many =
        Entrant::without_requests(format!("Gatekey, a key created, {CALLERS} callers"), &server);
    let mut many = [many.with_connections(CALLERS)];
    for round in options.rounds() {
        let measured = one_caller(&server, &mut disk, &token, options, round).await?;
        many[0].requests = self::many(&token, options, round)?;
        contest::round(&mut many, options, round).await?;
        if round > 0 {
            one.note(&measured);
        }
    }
    let [many] = many;
    Ok(section(&one, many))
}

/// The requests of many callers for one round: more than can be answered.
pub(crate) fn many(token: &str, options: &Options, round: usize) -> anyhow::Result<Requests> {
    let count = usize::try_from(MOST_KEYS_A_SECOND * options.seconds.get())?;
    let prefix = format!("many-{round}");
    let requests = (0..count).map(|number| request::create(token, &name(&prefix, number)));
    Ok(Requests::once(requests.collect()))
}

/// Latency of one caller in microseconds, and its keys per second: medians, one per round.
#[derive(Default)]
struct OneCaller {
    append: Vec<f64>,
    overwrite: Vec<f64>,
    create: Vec<f64>,
    rate: Vec<f64>,
}

#[derive(Default)]
struct Round {
    append: Vec<Duration>,
    overwrite: Vec<Duration>,
    create: Vec<Duration>,
}

/// Alternates between fsyncs and creates, so that all of them see the disk in the same state.
async fn one_caller(
    server: &Server,
    disk: &mut Disk,
    token: &str,
    options: &Options,
    round: usize,
) -> anyhow::Result<Round> {
    let mut connection = Connection::open(&server.address).await?;
    let mut times = Round::default();
    let prefix = format!("one-{round}");
    let started = Instant::now();
    while started.elapsed() < options.duration() {
        let wanted = request::create(token, &name(&prefix, times.create.len()));
        times.append.push(disk.append()?);
        times.overwrite.push(disk.overwrite()?);
        let began = Instant::now();
        connection.call(&wanted).await?;
        times.create.push(began.elapsed());
    }
    Ok(times)
}

/// Two files on the disk of the data directory, synced as SQLite does it, with fdatasync.
struct Disk {
    appended: File,
    length: u64,
    overwritten: File,
}

impl Disk {
    fn new(directory: &Path) -> anyhow::Result<Self> {
        let appended = File::create_new(directory.join("appended"))?;
        let overwritten = File::create_new(directory.join("overwritten"))?;
        overwritten.write_all_at(&PAGE, 0)?;
        overwritten.sync_all()?;
        Ok(Self { appended, length: 0, overwritten })
    }

    fn append(&mut self) -> anyhow::Result<Duration> {
        let began = Instant::now();
        self.appended.write_all_at(&PAGE, self.length)?;
        self.appended.sync_data()?;
        self.length += PAGE.len() as u64;
        Ok(began.elapsed())
    }

    /// Cheaper than an append on file systems that also write their journal for the latter.
    fn overwrite(&mut self) -> anyhow::Result<Duration> {
        let began = Instant::now();
        self.overwritten.write_all_at(&PAGE, 0)?;
        self.overwritten.sync_data()?;
        Ok(began.elapsed())
    }
}

impl OneCaller {
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    fn note(&mut self, round: &Round) {
        self.append.push(median_micros(&round.append));
        self.overwrite.push(median_micros(&round.overwrite));
        self.create.push(median_micros(&round.create));
        self.rate
            .push(round.create.len() as f64 / round.create.iter().sum::<Duration>().as_secs_f64());
    }
}

pub(crate) fn median_micros(times: &[Duration]) -> f64 {
    median(&times.iter().map(|time| time.as_secs_f64() * 1e6).collect::<Vec<_>>())
}

fn section(one: &OneCaller, many: Entrant<'_>) -> Section {
    let (what, unit) = ("A key created, one caller", Unit::Microseconds);
    let (append, overwrite) = ("an fsync of 4 KiB appended", "an fsync of 4 KiB overwritten");
    let beside =
        |name, theirs, bar| Line::beside(what, (&one.create, unit), name, (theirs, unit), bar);
    let mut section = Section::new("Key creation");
    section.lines.push(beside(append, &one.append, ONE_CALLER_BAR));
    section.lines.push(beside(overwrite, &one.overwrite, Bar::None));
    section.lines.push(Line::beside(
        format!("Keys created per second, {CALLERS} callers"),
        (&many.figures.rates, Unit::PerSecond),
        "one caller",
        (&one.rate, Unit::PerSecond),
        CALLERS_BAR,
    ));
    section.notes.push(
        "Each key is acknowledged after its commit is on disk. One caller and the fsyncs (fdatasync, as SQLite \
         uses it, on the same disk) alternate; the figures are medians of the rounds."
            .to_owned(),
    );
    section.notes.push(format!(
        "Creating a key takes {:.0} µs of CPU ({CALLERS} callers, sharing commits), however fast the disk is. On a disk \
         whose fsync takes little more than that, one caller spends as much time on the CPU as on the disk, and the \
         CPU limits many callers before twenty of them share an fsync.",
        median(&many.figures.micros)
    ));
    let rows = [
        Row::new(&format!("floor, {overwrite}"), median(&one.overwrite), unit),
        Row::new(&format!("floor, {append}"), median(&one.append), unit),
        Row::new(&format!("Gatekey, {}", what.to_lowercase()), median(&one.create), unit),
    ];
    section.plots.push(Plot::of("create", "Time of one caller", &rows));
    section.figures.push(many.figures);
    section
}
