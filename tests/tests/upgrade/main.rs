//! An agent that is upgraded, killed or paused under load: what pods get of it.

mod away;
mod hand_over;
mod load;
mod midway;
