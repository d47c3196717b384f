//! Full, lossy, in order, and with room for what counts.

use std::sync::Arc;

use serde_json::Value;

use super::*;
use crate::event::Outcome;

const ROOM: usize = 1000;

fn queue() -> Queue {
    Queue::of(LogFormat::Json, ROOM)
}

/// A line of 21 bytes.
fn line(number: usize) -> String {
    format!("{{\"line\":\"{number:09}\"}}\n")
}

fn push(queue: &Queue, numbers: impl IntoIterator<Item = usize>, worth: Worth) {
    for number in numbers {
        queue.push(line(number).as_bytes(), worth);
    }
}

/// What can be written without waiting; `bytes` of each taking are, if that is given.
fn written(queue: &Queue, bytes: Option<usize>) -> Vec<Value> {
    let mut lines = Vec::new();
    loop {
        let taken = queue.lock().take(queue.format, Instant::now());
        let Ok(piece) = taken else {
            return lines;
        };
        for line in String::from_utf8_lossy(&piece).lines() {
            lines.push(serde_json::from_str(line).expect("JSON"));
        }
        let bytes = bytes.unwrap_or(piece.len());
        queue.written(piece, bytes);
    }
}

fn numbers(lines: &[Value]) -> Vec<usize> {
    let number = |line: &Value| line["line"].as_str()?.parse().ok();
    lines.iter().filter_map(number).collect()
}

#[test]
fn lines_come_out_in_the_order_they_went_in_whatever_they_are_worth() {
    let queue = queue();
    for number in 10..30 {
        let worth = if number % 2 == 0 {
            Worth::Refused
        } else {
            Worth::Kept
        };
        push(&queue, [number], worth);
    }
    let lines = written(&queue, None);
    assert_eq!(numbers(&lines), (10..30).collect::<Vec<_>>());
    assert_eq!(queue.lost(), 0);
}

#[test]
fn a_full_queue_loses_what_comes_and_says_how_much_once() {
    let queue = queue();
    push(&queue, 0..100, Worth::Kept);
    assert_eq!(queue.lost(), 100 - 47);
    assert!(queue.lock().bytes() <= ROOM);
    let lines = written(&queue, None);
    assert_eq!(numbers(&lines), (0..47).collect::<Vec<_>>());
    let told: Vec<_> = lines
        .iter()
        .filter(|line| line["event"] == "log_lines_dropped")
        .collect();
    assert_eq!(told.len(), 1, "{lines:?}");
    assert_eq!(told[0]["lines"], 53);
    assert_eq!(told[0]["level"], "WARN");
    assert_eq!(queue.lock().bytes(), 0);
    push(&queue, [7], Worth::Kept);
    assert_eq!(written(&queue, None).len(), 1, "told once");
}

#[test]
fn refusals_leave_half_of_the_room_to_what_counts() {
    let queue = queue();
    push(&queue, 0..100, Worth::Refused);
    assert_eq!(queue.lost(), 100 - 23);
    push(&queue, 100..120, Worth::Kept);
    assert_eq!(queue.lost(), 77, "none of those that count");
    let kept: Vec<_> = (0..23).chain(100..120).collect();
    assert_eq!(numbers(&written(&queue, None)), kept);
}

#[test]
fn what_is_being_written_takes_room_until_it_is_written() {
    let queue = queue();
    let long = [b'x'; 900];
    queue.push(&long, Worth::Kept);
    let piece = queue.next();
    queue.push(&long, Worth::Kept);
    assert_eq!(queue.lost(), 1);
    let bytes = piece.len();
    queue.written(piece, bytes);
    queue.push(&long, Worth::Kept);
    assert_eq!(queue.lost(), 1);
}

#[test]
fn lines_that_nobody_could_take_are_counted_and_told_to_whoever_comes_back() {
    let queue = queue();
    queue.push(b"{\"line\":1}\n{\"line\":2}\n", Worth::Kept);
    let _nobody_there = written(&queue, Some(0));
    assert_eq!(queue.lost(), 2);
    assert!(
        written(&queue, None).is_empty(),
        "nobody is there to be told"
    );
    queue.push(b"{\"line\":3}\n", Worth::Kept);
    let lines = written(&queue, None);
    assert_eq!(lines[0]["line"], 3);
    assert_eq!(lines[1]["lines"], 2);
}

#[test]
fn a_flood_is_told_when_its_second_is_over_or_at_the_end() {
    let queue = queue();
    let route = Arc::from("default");
    let kind = Kind {
        route: &route,
        outcome: Outcome::HandshakeFailed,
    };
    let now = Instant::now();
    let lets = (0..1000).filter(|_| queue.lets(&kind, now)).count();
    assert_eq!(lets, 100);
    let told = |piece: Vec<u8>| -> Value { serde_json::from_slice(&piece).expect("JSON") };
    let mut state = queue.lock();
    let until = now + Duration::from_secs(1);
    assert_eq!(state.take(LogFormat::Json, now), Err(Some(until)));
    let sum = told(
        state
            .take(LogFormat::Json, until)
            .expect("the second is over"),
    );
    assert_eq!(sum["event"], "connections_summed");
    assert_eq!(sum["route"], "default");
    assert_eq!(sum["outcome"], "handshake_failed");
    assert_eq!(sum["more"], 900);
    assert_eq!(state.take(LogFormat::Json, until), Err(None), "told once");
    drop(state);
    let again = (0..101).filter(|_| queue.lets(&kind, until)).count();
    assert_eq!(again, 100);
    queue.lock().closing = true;
    let at_the_end = queue.lock().take(LogFormat::Json, until);
    assert_eq!(told(at_the_end.expect("it is the end"))["more"], 1);
}

#[test]
fn flushing_waits_for_the_writer_and_not_for_ever() {
    let queue = Arc::new(queue());
    push(&queue, 0..3, Worth::Kept);
    let began = Instant::now();
    queue.flush(Duration::from_millis(50));
    assert!(began.elapsed() >= Duration::from_millis(50));
    assert!(!queue.lock().lines.is_empty(), "nobody writes");
    let writer = Arc::clone(&queue);
    std::thread::spawn(move || {
        loop {
            let piece = writer.next();
            let bytes = piece.len();
            writer.written(piece, bytes);
        }
    });
    queue.flush(Duration::from_secs(60));
    assert_eq!(queue.lock().bytes(), 0);
}
