//! Whose turn it is.

use super::*;
use loggia_model::id::PersonId;

fn person(n: u8) -> ActorId {
    ActorId::Person(PersonId::from_parts(1, [n; 10]))
}

#[tokio::test(start_paused = true)]
async fn one_caller_has_one_turn_and_nobody_waits_for_ever() {
    let room = Room::new();
    let first = room.enter(person(1)).await.unwrap();
    assert_eq!(room.enter(person(1)).await.err().unwrap().code, "throttled");
    let second = room.enter(person(2)).await.unwrap();
    assert_eq!(room.enter(person(3)).await.err().unwrap().code, "throttled", "after its wait");
    let reads_on = Arc::clone(&first);
    drop(first);
    assert!(room.enter(person(1)).await.is_err(), "what it began is still read");
    drop(reads_on);
    assert!(room.enter(person(1)).await.is_ok());
    assert!(room.enter(person(3)).await.is_ok(), "who gave up is forgotten");
    drop(second);
}
