//! Reports of a recording and its verdict: for people, for CI, for programs. All are pure functions to text; whoever calls
//! them writes the files. None of them computes what a check computes, so no report can disagree with the verdict.

pub mod html;
pub mod scale;
pub mod text;
