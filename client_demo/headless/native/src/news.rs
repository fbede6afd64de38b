//! What the threads tell the one that prints, and what it gathers.

use crate::counters::{Counters, Measures};
use crate::protocol::{Command, Output};

/// What one thread has counted since the mark.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Viewers connected now.
    pub connected: u64,
    /// Viewers that saw a whole picture, since the start.
    pub watching: u64,
    /// Viewers on a good network that lost packets.
    pub viewers_with_loss: u64,
    /// Of viewers on a good network.
    pub clean: Counters,
    /// Of viewers behind the bad one.
    pub impaired: Counters,
}

/// What the threads tell, and what comes from standard input.
pub enum News {
    /// A command, or why a line is none.
    Command(Result<Command, String>),
    /// A line to print.
    Line(Output),
    /// Once a second; the thread's number.
    Tally(usize, Tally),
    /// The last word.
    End(usize, Box<End>),
}

/// Everything a thread has measured.
#[derive(Default)]
pub struct End {
    /// Counters.
    pub tally: Tally,
    /// Distributions, of viewers on a good network.
    pub measures: Measures,
    /// Distributions of the others.
    pub impaired_measures: Measures,
    /// Pictures not handed on.
    pub pictures_dropped: u64,
}
