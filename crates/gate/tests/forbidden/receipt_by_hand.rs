//! A receipt comes from an append that succeeded.
use loggia_gate::Receipt;
use loggia_model::port::Appended;

fn forge(appended: Appended) -> Receipt {
    Receipt { appended, on_disk: None }
}

fn main() {}
