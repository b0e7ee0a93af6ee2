//! Makes steps from a chunk of the client's stream.

use super::files::Files;
use crate::codec::operation::{Action, Denial, Operation, Step, Ticket};
use bytes::Bytes;

/// Which step bytes belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Neutral,
    /// Part of the action that opened this file.
    Part(u64),
}

/// Makes steps from a chunk. Bytes of one class that lie next to each other become one step.
pub(super) struct Steps<K> {
    chunk: Bytes,
    /// Up to here the chunk stands in steps.
    done: usize,
    /// Up to here the chunk was looked at.
    at: usize,
    /// The class of what lies between.
    class: Class,
    steps: Vec<Step<K>>,
}

impl<K: Clone> Steps<K> {
    pub(super) fn over(chunk: Bytes) -> Self {
        Self { chunk, done: 0, at: 0, class: Class::Neutral, steps: Vec::new() }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.chunk.len()
    }

    pub(super) fn rest(&self) -> &[u8] {
        self.chunk.get(self.at..).unwrap_or_default()
    }

    /// The next `length` bytes, or what there is, without taking them.
    pub(super) fn peek(&self, length: usize) -> Bytes {
        let end = self.at.saturating_add(length).min(self.chunk.len());
        self.chunk.slice(self.at..end)
    }

    /// Takes the next `length` bytes, or what there is, into a step.
    pub(super) fn take(&mut self, length: usize, class: Class, files: &Files<K>) -> Bytes {
        if class != self.class {
            self.flush(files);
            self.class = class;
        }
        let piece = self.peek(length);
        self.at += piece.len();
        piece
    }

    /// Takes the next `length` bytes, or what there is, into no step: they are held, or come
    /// with one that is put behind.
    pub(super) fn take_apart(&mut self, length: usize, files: &Files<K>) -> Bytes {
        self.flush(files);
        let piece = self.peek(length);
        self.at += piece.len();
        self.done = self.at;
        piece
    }

    /// Puts a step of bytes that do not lie in the chunk, or no more as they were.
    pub(super) fn put(&mut self, bytes: Bytes, class: Class, files: &Files<K>) {
        self.flush(files);
        self.steps.push(step(class, bytes, files));
    }

    /// Puts an action.
    pub(super) fn action(
        &mut self,
        ticket: Ticket,
        operation: Operation,
        on: Option<K>,
        bytes: Bytes,
        files: &Files<K>,
    ) {
        self.flush(files);
        self.steps.push(Step::Action(Action { ticket, operation, on, bytes }));
    }

    /// Puts an operation that is not followed.
    pub(super) fn refused(&mut self, operation: Operation, denial: Denial, files: &Files<K>) {
        self.flush(files);
        self.steps.push(Step::Refused { operation, denial });
    }

    /// Makes a step of what was taken since the last one.
    fn flush(&mut self, files: &Files<K>) {
        if self.done < self.at {
            let bytes = self.chunk.slice(self.done..self.at);
            self.steps.push(step(self.class, bytes, files));
            self.done = self.at;
        }
    }

    /// The steps, in order.
    pub(super) fn finish(mut self, files: &Files<K>) -> Vec<Step<K>> {
        self.flush(files);
        self.steps
    }
}

fn step<K: Clone>(class: Class, bytes: Bytes, files: &Files<K>) -> Step<K> {
    let action = match class {
        Class::Neutral => None,
        Class::Part(file) => files.key(file),
    };
    match action {
        Some(action) => Step::Part { action, bytes },
        None => Step::Neutral(bytes),
    }
}
