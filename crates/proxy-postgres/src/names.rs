//! Which recorded text an execution runs: prepared statements and portals by name, as a pure state
//! machine.
//!
//! Its inputs are the client's messages in the order they are forwarded and the server's answers
//! in the order they come (told by [`crate::pending`], which knows which answer belongs to which
//! message). A name means what the last Parse or Bind made of it, *as far as the server confirmed
//! that*; whatever may have been made in another way is unresolved (see [`words`]).

mod space;
pub mod words;

#[cfg(test)]
mod tests;

pub use space::{Found, NAMES_MAX, Ticket};

use loggia_model::id::EventId;
use space::Space;
use words::Touches;

/// A prepared statement: the event in which its text stands, and where to find what that text
/// does to names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prepared {
    /// Id of the `sql.prepare`.
    pub event: EventId,
    /// Whether its text may make any prepared statement or portal.
    makes: Makes,
    /// Whether its text may begin a COPY that the client sends data for.
    copies: bool,
}

/// [`Touches`] in a form that is cheap to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Makes {
    Nothing,
    Portals,
    Everything,
}

impl From<&Touches> for Makes {
    fn from(touches: &Touches) -> Self {
        match touches {
            Touches::Nothing => Self::Nothing,
            Touches::Portals => Self::Portals,
            // A prepared PREPARE is rare enough not to keep its name.
            Touches::Statement(_) | Touches::Everything => Self::Everything,
        }
    }
}

/// A portal: the Bind that made it, by a number of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Portal {
    /// The number that [`Names::bind`] was given.
    pub bind: u64,
    makes: Makes,
    copies: bool,
}

impl Found<Portal> {
    /// Whether running it may begin a COPY that the client sends data for. What is not known may.
    pub fn may_copy(self) -> bool {
        match self {
            Self::Known(portal) => portal.copies,
            Self::Unresolved | Self::Wait => true,
        }
    }
}

/// The names of one session.
#[derive(Debug, Default)]
pub struct Names {
    statements: Space<Prepared>,
    portals: Space<Portal>,
    group: u64,
    ended: Vec<u64>,
    /// Whether the session may have left code behind that makes names: from then on any statement
    /// may run it.
    unseen: bool,
}

impl Names {
    /// What the name of a prepared statement means to the next message.
    pub fn statement(&self, name: &[u8]) -> Found<Prepared> {
        self.statements.find(name, self.group)
    }

    /// What the name of a portal means to the next message.
    pub fn portal(&self, name: &[u8]) -> Found<Portal> {
        self.portals.find(name, self.group)
    }

    /// A Parse is forwarded whose text stands in the event `event`.
    pub fn parse(&mut self, name: &[u8], text: &[u8], event: EventId) -> Ticket<Prepared> {
        let makes = Makes::from(&words::touches(text));
        self.unseen |= makes == Makes::Everything || words::defines_code(text);
        self.made(Makes::Nothing);
        let copies = words::may_copy(text);
        self.statements.set(name, Prepared { event, makes, copies }, self.group)
    }

    /// A Bind is forwarded that makes `portal` from a statement of which this was found. `bind` is
    /// a number that is never used again.
    pub fn bind(&mut self, portal: &[u8], of: Found<Prepared>, bind: u64) -> Ticket<Portal> {
        // A statement that SQL prepared is a query; it cannot make names itself.
        // But the name may still be that of a COPY which was parsed.
        let (makes, copies) = match of {
            Found::Known(prepared) => (prepared.makes, prepared.copies),
            Found::Unresolved | Found::Wait => (Makes::Nothing, true),
        };
        self.made(makes);
        self.portals.set(portal, Portal { bind, makes, copies }, self.group)
    }

    /// An Execute is forwarded for a portal of which this was found.
    pub fn execute(&mut self, of: Found<Portal>) {
        self.made(match of {
            Found::Known(portal) => portal.makes,
            Found::Unresolved | Found::Wait => Makes::Nothing,
        });
    }

    /// A Close of a prepared statement is forwarded.
    pub fn close_statement(&mut self, name: &[u8]) -> Ticket<Prepared> {
        self.statements.remove(name, self.group)
    }

    /// A Close of a portal is forwarded.
    pub fn close_portal(&mut self, name: &[u8]) -> Ticket<Portal> {
        self.portals.remove(name, self.group)
    }

    /// A Query is forwarded: it ends the unnamed statement and portal, and the group.
    pub fn query(&mut self, text: &[u8]) {
        self.statements.doubt(b"");
        self.ended.extend(self.portals.doubt(b"").map(|portal| portal.bind));
        let touches = words::touches(text);
        self.unseen |= touches == Touches::Everything || words::defines_code(text);
        if let Touches::Statement(name) = &touches {
            self.statements.doubt(name);
        }
        self.made(match touches {
            Touches::Statement(_) => Makes::Nothing,
            _ => Makes::from(&touches),
        });
        self.group += 1;
    }

    /// A FunctionCall is forwarded. The function may do anything, and it ends the group.
    pub fn call(&mut self) {
        self.made(Makes::Everything);
        self.group += 1;
    }

    /// A Sync is forwarded: it ends the group.
    pub fn sync(&mut self) {
        self.group += 1;
    }

    /// The server answered or skipped a Parse, or a Close of a statement.
    pub fn settle_statement(&mut self, ticket: &Ticket<Prepared>, done: bool) {
        self.statements.settle(ticket, done);
    }

    /// The server answered or skipped a Bind, or a Close of a portal.
    pub fn settle_portal(&mut self, ticket: &Ticket<Portal>, done: bool) {
        let ended = self.portals.settle(ticket, done);
        self.ended.extend(ended.into_iter().flatten().map(|portal| portal.bind));
    }

    /// The server is outside of a transaction: every portal has ended.
    pub fn transaction_ended(&mut self) {
        self.ended.extend(self.portals.end_all().into_iter().map(|portal| portal.bind));
    }

    /// The numbers of the Binds whose portals can no longer be found by their names, since the
    /// last call.
    pub fn take_ended(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.ended)
    }

    /// A statement may run that makes this much.
    fn made(&mut self, makes: Makes) {
        let makes = if self.unseen { Makes::Everything } else { makes };
        if makes == Makes::Everything {
            self.statements.doubt_all();
        }
        if makes != Makes::Nothing {
            self.ended.extend(self.portals.doubt_all().into_iter().map(|portal| portal.bind));
        }
    }
}
