//! Nothing but a place of its own for the exhaustive model in `tests/ledger/`: so it is optimised, and flipguard itself
//! is not while it is tested.
