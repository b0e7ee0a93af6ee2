//! A receipt comes from an append that succeeded.
use loggia_gate::Receipt;
use loggia_model::port::OnDisk;

fn forge(on_disk: OnDisk) -> Receipt {
    Receipt { on_disk }
}

fn main() {}
