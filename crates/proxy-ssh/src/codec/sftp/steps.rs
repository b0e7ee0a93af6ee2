//! Makes steps from a chunk of the client's stream.

use super::Requests;
use super::files::Files;
use crate::codec::operation::{Action, Denial, Operation, Refusal, Step, Ticket};
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
    /// Everything that was taken and is not content of a file.
    control: Vec<u8>,
}

impl<K: Clone> Steps<K> {
    pub(super) fn over(chunk: Bytes) -> Self {
        Self {
            chunk,
            done: 0,
            at: 0,
            class: Class::Neutral,
            steps: Vec::new(),
            control: Vec::new(),
        }
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
        let piece = self.add(length, class, files);
        self.control.extend_from_slice(&piece);
        piece
    }

    /// Takes the next `length` bytes, or what there is, of what is written to an open file.
    pub(super) fn take_content(&mut self, length: usize, file: u64, files: &Files<K>) -> Bytes {
        self.add(length, Class::Part(file), files)
    }

    fn add(&mut self, length: usize, class: Class, files: &Files<K>) -> Bytes {
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
        self.control.extend_from_slice(&piece);
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
    pub(super) fn refused(
        &mut self,
        operation: Operation,
        why: Refusal,
        denial: Denial,
        files: &Files<K>,
    ) {
        self.flush(files);
        self.steps.push(Step::Refused { operation, why, denial });
    }

    /// Makes a step of what was taken since the last one.
    fn flush(&mut self, files: &Files<K>) {
        if self.done < self.at {
            let bytes = self.chunk.slice(self.done..self.at);
            self.steps.push(step(self.class, bytes, files));
            self.done = self.at;
        }
    }

    /// The steps, in order, and what of the chunk is not content of a file.
    pub(super) fn finish(mut self, files: &Files<K>) -> Requests<K> {
        self.flush(files);
        Requests { steps: self.steps, control: self.control.into() }
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
