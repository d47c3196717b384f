//! Every cell of both tables.

use super::Flow::{Cut, Cutting, Deaf, Ended as Done, Ending, Lost, Open};
use super::*;
use crate::event::Outcome::{IdleTimeout, IoError, Relayed, Unanswered};

const IDLE: Duration = Duration::from_secs(600);
const FLOWS: [Flow; 7] = [
    Open,
    Ending,
    Done,
    Cutting("reset"),
    Cut("reset"),
    Deaf,
    Lost,
];

/// What a cell says, in short.
fn said(end: &End) -> (bool, Outcome) {
    match end {
        End::Clean(ended) => (true, ended.outcome),
        End::Cut(ended) => (false, ended.outcome),
    }
}

/// The table of [`ending`] as a picture: rows upward, columns downward, in the order of [`FLOWS`]. `.` goes on, `R` is
/// relayed and clean, `u` unanswered where the target owes an answer and what the second letter says otherwise, `!` cut.
const PICTURE: [[&str; 7]; 7] = [
    // Open, Ending, Ended, Cutting, Cut, Deaf, Lost
    [".", ".", ".", ".", "!", ".", "."],
    [".", ".", ".", ".", "!", ".", "."],
    [".", ".", "uR", ".", "!", "u!", "u!"],
    [".", ".", ".", ".", "!", ".", "."],
    ["!", "!", "!", "!", "!", "!", "!"],
    [".", ".", "R", ".", "!", "!", "!"],
    [".", ".", "R", ".", "!", "!", "!"],
];

#[test]
fn every_pair_of_directions_ends_as_drawn() {
    for (row, upward) in FLOWS.into_iter().enumerate() {
        for (column, downward) in FLOWS.into_iter().enumerate() {
            for unanswered in [false, true] {
                let end = ending(upward, downward, unanswered);
                let expected = match (PICTURE[row][column], unanswered) {
                    (".", _) => None,
                    ("uR", true) => Some((true, Unanswered)),
                    ("R", _) | ("uR", false) => Some((true, Relayed)),
                    ("u!", true) => Some((false, Unanswered)),
                    ("!", _) | ("u!", false) => Some((false, IoError)),
                    (other, _) => panic!("{other}"),
                };
                let place = format!("{upward:?}, {downward:?}, unanswered: {unanswered}");
                assert_eq!(end.as_ref().map(said), expected, "{place}");
            }
        }
    }
}

#[test]
fn the_reason_of_a_cut_is_that_of_the_side_that_was_cut() {
    let why = |upward, downward| match ending(upward, downward, false) {
        Some(End::Cut(ended)) => ended.reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(why(Cut("by the client"), Open), "by the client");
    assert_eq!(why(Done, Cut("by the target")), "by the target");
    assert_eq!(why(Cut("first"), Cut("second")), "first");
}

#[test]
fn a_session_that_stands_still_ends_cleanly_only_where_both_sides_can_be_told_the_truth() {
    for upward in FLOWS {
        for downward in FLOWS {
            for unanswered in [false, true] {
                let end = |waiting| out_of_patience(upward, downward, unanswered, waiting, IDLE);
                let place = format!("{upward:?}, {downward:?}, unanswered: {unanswered}");
                assert_eq!(said(&end(true)), (false, IdleTimeout), "{place}");
                let expected = match (upward, downward) {
                    (Open, Open | Done) => (true, IdleTimeout),
                    (Done, Open) if unanswered => (false, Unanswered),
                    (Done, Open) => (true, IdleTimeout),
                    _ => (false, IdleTimeout),
                };
                assert_eq!(said(&end(false)), expected, "{place}");
            }
        }
    }
}

#[test]
fn the_reason_names_the_limit_that_ended_it() {
    let why = |upward, downward, idle| {
        let (End::Clean(ended) | End::Cut(ended)) =
            out_of_patience(upward, downward, true, false, idle);
        ended.reason
    };
    let short = Duration::from_secs(5);
    assert_eq!(
        why(Open, Open, IDLE),
        "no byte moved for 600s, and the target had said nothing since the client last spoke"
    );
    assert_eq!(
        why(Done, Open, IDLE),
        "the client finished, and the target said nothing for 60s"
    );
    assert_eq!(
        why(Done, Open, short),
        "no byte moved for 5s after the client had finished, and the target had said nothing since the client last spoke"
    );
    assert_eq!(
        why(Open, Done, IDLE),
        "no byte moved for 60s after the target had finished"
    );
}
