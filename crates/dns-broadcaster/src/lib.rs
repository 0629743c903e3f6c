//! The DNS broadcaster: what each name answers, following the authority to write.
