//! The run: commands from standard input to the threads, their news to standard output.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use crate::clock::Clock;
use crate::counters::Counters;
use crate::link::Link;
use crate::news::{End, News, Tally};
use crate::protocol::{Command, Configuration, Output, Report};
use crate::sockets::raise_file_limit;
use crate::viewer::ViewerSettings;
use crate::worker::{Worker, WorkerParts};

/// More threads than any machine needs for this.
const MAX_THREADS: usize = 64;

/// One thread as seen from here.
struct Handle {
    commands: Sender<Command>,
    wake: UnixStream,
    tally: Tally,
    end: Option<Box<End>>,
}

impl Handle {
    fn tell(&mut self, command: Command) {
        // A thread that has ended has said so.
        let _ = self.commands.send(command);
        let _ = self.wake.write_all(&[1]);
    }
}

/// Runs from the first line of `input` to the report on `output`.
///
/// # Errors
/// What is wrong with the configuration, or with this machine.
pub fn run(mut input: impl BufRead + Send + 'static, output: &mut impl Write) -> Result<(), String> {
    let mut line = String::new();
    input.read_line(&mut line).map_err(|error| error.to_string())?;
    let configuration: Configuration =
        serde_json::from_str(&line).map_err(|error| format!("configuration: {error}"))?;
    if !(1..=MAX_THREADS).contains(&configuration.threads) {
        return Err(format!("threads: 1 to {MAX_THREADS}"));
    }
    let file_limit = raise_file_limit();
    let (_, granted) = Link::udp(IpAddr::V4(Ipv4Addr::LOCALHOST), configuration.receive_buffer)
        .map_err(|error| format!("no UDP socket: {error}"))?;
    let (news, received) = channel();
    let mut run = Run::start(configuration, &news)?;
    let (receive_buffer, coalescing) = (granted.receive_buffer, granted.coalescing);
    print(output, &Output::Ready { file_limit, receive_buffer, coalescing })?;
    thread::spawn(move || read_commands(input, &news));
    run.serve(&received, output)
}

/// Reads commands to the end of the input, which is one too.
fn read_commands(input: impl BufRead, news: &Sender<News>) {
    let lines = input.lines().map_while(Result::ok).filter(|line| !line.is_empty());
    let commands = lines.map(|line| serde_json::from_str(&line).map_err(|error| format!("command: {error}")));
    for command in commands.chain([Ok(Command::Finish)]) {
        if news.send(News::Command(command)).is_err() {
            return;
        }
    }
}

struct Run {
    handles: Vec<Handle>,
    clock: Clock,
    marked_us: u64,
    pending: usize,
}

impl Run {
    fn start(configuration: Configuration, news: &Sender<News>) -> Result<Self, String> {
        let clock = Clock::start();
        let (dtls, seed) = (configuration.dtls()?, configuration.seed);
        let feedback_us = configuration.feedback_ms.clamp(10, 10_000) * 1000;
        let settings = Arc::new(ViewerSettings { dtls, feedback_us, clock, seed });
        let configuration = Arc::new(configuration);
        let start = |index| {
            let (configuration, settings) = (configuration.clone(), settings.clone());
            start_thread(WorkerParts { index, configuration, settings, news: news.clone() })
        };
        let handles = (0..configuration.threads).map(start).collect::<Result<Vec<Handle>, String>>()?;
        let pending = handles.len();
        Ok(Self { handles, clock, marked_us: 0, pending })
    }

    fn serve(&mut self, news: &Receiver<News>, output: &mut impl Write) -> Result<(), String> {
        while self.pending > 0 {
            match news.recv().map_err(|error| error.to_string())? {
                News::Line(line) => print(output, &line)?,
                News::Command(command) => self.dispatch(command?),
                News::Tally(index, tally) => self.take_tally(index, tally, output)?,
                News::End(index, end) => {
                    self.pending -= 1;
                    self.handles[index].end = Some(end);
                }
            }
        }
        print(output, &Output::Report(Box::new(self.report())))
    }

    fn dispatch(&mut self, command: Command) {
        match command {
            Command::Offer { viewer, .. } | Command::Answer { viewer, .. } | Command::Leave { viewer } => {
                let index = (viewer % self.handles.len() as u64) as usize;
                self.handles[index].tell(command);
            }
            Command::Mark => {
                self.marked_us = self.clock.now_us();
                self.handles.iter_mut().for_each(|handle| handle.tell(Command::Mark));
            }
            Command::Finish => self.handles.iter_mut().for_each(|handle| handle.tell(Command::Finish)),
        }
    }

    /// Prints statistics when the last thread's tally of a second is there.
    fn take_tally(&mut self, index: usize, tally: Tally, output: &mut impl Write) -> Result<(), String> {
        self.handles[index].tally = tally;
        if index + 1 < self.handles.len() {
            return Ok(());
        }
        let mut counters = Counters::default();
        for handle in &self.handles {
            counters.add(&handle.tally.clean);
            counters.add(&handle.tally.impaired);
        }
        let sum = |field: fn(&Tally) -> u64| self.handles.iter().map(|handle| field(&handle.tally)).sum();
        let (connected, watching) = (sum(|tally| tally.connected), sum(|tally| tally.watching));
        print(output, &Output::Statistics { seconds: self.seconds(), connected, watching, counters })
    }

    fn seconds(&self) -> f64 {
        (self.clock.now_us() - self.marked_us) as f64 / 1e6
    }

    fn report(&mut self) -> Report {
        let seconds = self.seconds();
        let mut all = End::default();
        for end in self.handles.iter_mut().filter_map(|handle| handle.end.take()) {
            all.tally.connected += end.tally.connected;
            all.tally.watching += end.tally.watching;
            all.tally.viewers_with_loss += end.tally.viewers_with_loss;
            all.tally.clean.add(&end.tally.clean);
            all.tally.impaired.add(&end.tally.impaired);
            all.measures.merge(&end.measures);
            all.measures.join.merge(&end.impaired_measures.join);
            all.measures.first_picture.merge(&end.impaired_measures.first_picture);
            all.pictures_dropped += end.pictures_dropped;
        }
        report_of(all, seconds)
    }
}

fn report_of(all: End, seconds: f64) -> Report {
    let measures = &all.measures;
    let histograms = BTreeMap::from([
        ("join_ms", measures.join.points()),
        ("first_picture_ms", measures.first_picture.points()),
        ("capture_to_arrival_ms", measures.capture_to_arrival.points()),
        ("picture_interval_ms", measures.picture_interval.points()),
    ]);
    Report {
        seconds,
        connected: all.tally.connected,
        watching: all.tally.watching,
        viewers_with_loss: all.tally.viewers_with_loss,
        clean: all.tally.clean,
        impaired: all.tally.impaired,
        join_ms: measures.join.summary(),
        first_picture_ms: measures.first_picture.summary(),
        capture_to_arrival_ms: measures.capture_to_arrival.summary(),
        picture_interval_ms: measures.picture_interval.summary(),
        pictures_dropped: all.pictures_dropped,
        histograms,
    }
}

fn start_thread(parts: WorkerParts) -> Result<Handle, String> {
    let (commands, received) = channel();
    let (wake, woken) = UnixStream::pair().map_err(|error| error.to_string())?;
    let index = parts.index;
    let worker = Worker::new(parts).map_err(|error| format!("thread {index}: {error}"))?;
    thread::Builder::new()
        .name(format!("viewers-{index}"))
        .spawn(move || worker.run(&received, woken))
        .map_err(|error| format!("thread {index}: {error}"))?;
    Ok(Handle { commands, wake, tally: Tally::default(), end: None })
}

fn print(output: &mut impl Write, line: &Output) -> Result<(), String> {
    let mut text = serde_json::to_string(line).map_err(|error| error.to_string())?;
    text.push('\n');
    output.write_all(text.as_bytes()).and_then(|()| output.flush()).map_err(|error| error.to_string())
}
