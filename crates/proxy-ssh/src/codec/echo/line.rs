//! One typed line, and how much of it was shown.

use super::OUTPUT_BYTES_MAX;

/// How far behind the last echoed character the next one is looked for, in bytes.
const AHEAD_BYTES_MAX: usize = 64;
/// How many characters before one have to be shown with it, in bytes, where it is not the first
/// thing shown.
const CONTEXT_BYTES: usize = 3;
/// Characters in a row that were not shown, in bytes, which make a line silent.
const GAP_BYTES: usize = 4;
/// Other characters behind the end of a line that was echoed, in bytes, after which its verdict
/// is not waited for any longer.
const OTHER_BYTES_MAX: usize = 256;

/// What was shown of the present line of output, without spaces.
#[derive(Debug, Default)]
pub(super) struct Shown(Vec<u8>);

impl Shown {
    pub(super) fn push(&mut self, byte: u8) {
        // Longer than any typed line, so that the end of it is always there.
        if self.0.len() >= 2 * super::LINE_BYTES_MAX {
            self.0.drain(..super::LINE_BYTES_MAX);
        }
        self.0.push(byte);
    }

    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

/// One typed line.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) number: u64,
    /// The call with which it began.
    pub(super) call: u64,
    /// Typed bytes.
    pub(super) bytes: usize,
    /// Whether it ended with Enter.
    pub(super) by_enter: bool,
    /// Whether all of it came with one call, Enter included.
    pub(super) at_once: bool,
    pub(super) full_screen: bool,
    /// Whether nothing can change the verdict any more.
    pub(super) decided: bool,
    /// Whether a line feed decided.
    pub(super) by_line_feed: bool,
    /// Its printable characters, and whether each was shown.
    text: Vec<(u8, bool)>,
    /// How many were shown.
    shown: usize,
    /// Behind the last character that was shown.
    next: usize,
    /// Whether that was the last thing shown.
    chain: bool,
    /// The first character since whose typing nothing was shown.
    fresh: Option<usize>,
    /// The first character that was shown behind the end, as long as it is not known whether the
    /// line was shown up to its end or something that begins like it.
    late: Option<usize>,
    ended: bool,
    /// Output since the last key, in bytes.
    since_key: usize,
    line_feed_since_key: bool,
    /// Whether something was shown since the last key that was not an echo.
    other_since_key: bool,
    /// Whether the last character typed is among them.
    last_key_shown: bool,
    /// Other characters shown since the end.
    others: usize,
}

impl Line {
    pub(super) fn new(number: u64, call: u64) -> Self {
        Self {
            number,
            call,
            bytes: 0,
            by_enter: false,
            at_once: false,
            full_screen: false,
            decided: false,
            by_line_feed: false,
            text: Vec::new(),
            shown: 0,
            next: 0,
            chain: false,
            fresh: None,
            late: None,
            ended: false,
            since_key: 0,
            line_feed_since_key: false,
            other_since_key: false,
            last_key_shown: false,
            others: 0,
        }
    }

    /// A printable character was typed.
    pub(super) fn typed(&mut self, byte: u8) {
        self.fresh.get_or_insert(self.text.len());
        self.text.push((byte, false));
        self.since_key = 0;
        self.line_feed_since_key = false;
        self.other_since_key = false;
        self.last_key_shown = false;
    }

    pub(super) fn typed_bytes(&self) -> usize {
        self.text.len()
    }

    /// Nothing more is typed; `by_enter`, or because it breaks off.
    pub(super) fn end(&mut self, by_enter: bool) {
        self.ended = true;
        self.by_enter = by_enter;
        self.since_key = 0;
        self.decided = self.text.is_empty();
        self.line_feed_since_key = false;
    }

    /// The next key does not belong to it, because of what was shown: there is nothing to wait
    /// for.
    pub(super) fn leave_behind(&mut self) {
        self.end(false);
        self.decided = true;
    }

    /// Whether the next key is for something else than what was typed: another program uses the
    /// screen; or the last key was not shown, nor any before it, but something else was.
    pub(super) fn was_left_behind(&self, full_screen: bool) -> bool {
        let other = self.line_feed_since_key || self.other_since_key;
        let unseen = self.shown == 0 && !self.last_key_shown;
        !self.text.is_empty() && (self.full_screen != full_screen || (other && unseen))
    }

    /// Somebody types the next line. Whoever types key by key has seen what came after this one.
    pub(super) fn go_on(&mut self) {
        if !self.at_once && (self.others > 0 || self.line_feed_since_key) {
            self.decided = true;
        }
    }

    /// Looks whether a shown character is the echo of a typed one; `shown` is what stands before
    /// it.
    pub(super) fn take(&mut self, byte: u8, shown: &Shown) -> bool {
        let is = |place: usize| self.text.get(place).is_some_and(|typed| typed.0 == byte);
        let fresh = self.fresh.filter(|place| *place >= self.next && is(*place));
        let chained = Some(self.next).filter(|place| self.chain && is(*place));
        let Some(place) = fresh.or(chained).or_else(|| self.find(byte, shown)) else {
            return false;
        };
        self.mark(place);
        if place != self.next {
            // What stands before it on the screen stands before it in the line.
            let before = self.context(place, shown);
            (place.saturating_sub(before)..place).for_each(|place| self.mark(place));
        }
        if self.ended {
            self.late.get_or_insert(place);
        }
        self.next = place + 1;
        self.chain = true;
        self.fresh = None;
        true
    }

    /// A typed character, further on, that is shown behind those that were typed before it.
    fn find(&self, byte: u8, shown: &Shown) -> Option<usize> {
        if self.ended {
            return None;
        }
        let until = self.text.len().min(self.next.saturating_add(AHEAD_BYTES_MAX));
        let mut places = self.next.max(1)..until;
        places.find(|place| {
            self.text.get(*place).is_some_and(|typed| typed.0 == byte)
                && self.context(*place, shown) == (*place).min(CONTEXT_BYTES)
        })
    }

    /// How many of the characters typed before `place` are what was shown last.
    fn context(&self, place: usize, shown: &Shown) -> usize {
        let typed = self.text.get(..place).unwrap_or_default().iter().rev().map(|typed| &typed.0);
        let same = typed.zip(shown.0.iter().rev()).take_while(|(typed, shown)| typed == shown);
        same.take(CONTEXT_BYTES).count()
    }

    fn mark(&mut self, place: usize) {
        if let Some((_, shown)) = self.text.get_mut(place)
            && !*shown
        {
            *shown = true;
            self.shown += 1;
        }
    }

    fn unmark(&mut self, from: usize) {
        for (_, shown) in self.text.iter_mut().skip(from).filter(|typed| typed.1) {
            *shown = false;
            self.shown -= 1;
        }
        self.next = from;
    }

    /// The cursor moved: what was shown up to here was shown up to its end.
    pub(super) fn stop(&mut self) {
        self.late = None;
    }

    /// A shown character was not an echo.
    pub(super) fn miss(&mut self, byte: u8) {
        if let Some(late) = self.late.take() {
            // Not an echo: something goes on where the line ends.
            self.unmark(late);
        }
        self.last_key_shown |= self.text.last().is_some_and(|typed| typed.0 == byte);
        self.chain = false;
        self.fresh = None;
        self.other_since_key = true;
        self.others += usize::from(self.ended);
        let enough = self.has_enough() && self.others >= OTHER_BYTES_MAX;
        self.decided = self.decided || enough;
    }

    /// A byte of output went by.
    pub(super) fn one_byte_shown(&mut self) {
        self.since_key += 1;
        self.decided = self.decided || (self.ended && self.since_key >= OUTPUT_BYTES_MAX);
        self.line_feed_since_key |= self.since_key >= OUTPUT_BYTES_MAX;
    }

    /// The output goes on to the next line.
    pub(super) fn line_feed(&mut self) {
        self.chain = false;
        self.line_feed_since_key = true;
    }

    /// The output goes on to the next line: the echo of Enter, if nothing else came before it.
    pub(super) fn decide_at_line_feed(&mut self) {
        self.by_line_feed = self.others == 0 && (!self.at_once || self.has_enough());
        self.decided = self.by_line_feed;
    }

    /// Whether the line came at once, and stands at the end of a line of output.
    pub(super) fn is_shown_at_end_of(&self, shown: &Shown) -> bool {
        let typed = self.text.iter().rev().map(|typed| &typed.0);
        !self.decided
            && self.at_once
            && shown.0.len() >= self.text.len()
            && typed.zip(shown.0.iter().rev()).all(|(typed, shown)| typed == shown)
    }

    /// All of it was shown.
    pub(super) fn all_shown(&mut self) {
        (0..self.text.len()).for_each(|place| self.mark(place));
    }

    /// Whether the verdict stands.
    pub(super) fn is_decided(&self) -> bool {
        self.decided || (self.ended && self.shown == self.text.len() && self.late.is_none())
    }

    /// Whether output cannot show any more of what was typed so far.
    pub(super) fn awaits_nothing(&self) -> bool {
        self.shown == self.text.len() || self.since_key >= OUTPUT_BYTES_MAX
    }

    /// Whether enough of it was shown.
    pub(super) fn has_enough(&self) -> bool {
        let half = self.text.len().div_ceil(2);
        !self.text.is_empty() && self.shown >= half.max(CONTEXT_BYTES.min(self.text.len()))
    }

    /// Whether it was echoed, as far as it was shown.
    pub(super) fn was_echoed(&self) -> bool {
        self.text.is_empty() || (self.has_enough() && !self.is_masked() && !self.has_gap())
    }

    /// Whether so many characters in a row were not shown that they may be a secret by themselves,
    /// such as a number for a prompt that does not wait for Enter.
    fn has_gap(&self) -> bool {
        self.text.windows(GAP_BYTES).any(|typed| typed.iter().all(|(_, shown)| !shown))
    }

    /// Whether all that was shown is one character again and again, but not all that was typed: a
    /// prompt that shows a star for each key, and a secret with stars in it.
    fn is_masked(&self) -> bool {
        let mut shown = self.text.iter().filter(|typed| typed.1).map(|typed| typed.0);
        let first = shown.next();
        shown.all(|byte| Some(byte) == first) && self.shown < self.text.len()
    }
}
