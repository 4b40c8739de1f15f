//! Whether this agent is the one of its node that serves. During an upgrade two of them live: one has
//! the duty, the other rests and keeps its hands off all that the two share.

use tokio::sync::watch;

/// Says whether it is this agent's turn. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Duty(watch::Receiver<bool>);

/// Takes up the duty, and lays it down.
#[derive(Debug)]
pub struct Switch(watch::Sender<bool>);

impl Duty {
    /// On duty or at rest, until the switch says otherwise.
    #[must_use]
    pub fn new(on: bool) -> (Switch, Self) {
        let (switch, duty) = watch::channel(on);
        (Switch(switch), Self(duty))
    }

    /// That of a process that shares nothing with another.
    #[must_use]
    pub fn always() -> Self {
        Self::new(true).1
    }

    /// Whether it is on now.
    #[must_use]
    pub fn is_on(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is on.
    pub async fn begins(&mut self) {
        self.becomes(true).await;
    }

    /// Waits until it is not.
    pub async fn ends(&mut self) {
        self.becomes(false).await;
    }

    /// Waits until it is no longer as it was, and gives what it is.
    pub async fn turns(&mut self, was: bool) -> bool {
        self.becomes(!was).await;
        !was
    }

    async fn becomes(&mut self, wanted: bool) {
        if self.0.wait_for(|on| *on == wanted).await.is_err() {
            // Without a switch it stays as it is.
            std::future::pending::<()>().await;
        }
    }
}

impl Switch {
    /// From now on.
    pub fn set(&self, on: bool) {
        self.0.send_replace(on);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn it_begins_and_ends_as_the_switch_says() {
        let (switch, mut duty) = Duty::new(false);
        assert!(!duty.is_on() && duty.begins().now_or_never().is_none());
        duty.ends().await;
        switch.set(true);
        duty.begins().await;
        assert!(duty.is_on() && duty.ends().now_or_never().is_none());
    }

    #[tokio::test]
    async fn without_a_switch_it_stays_as_it_is() {
        let mut duty = Duty::always();
        duty.begins().await;
        assert!(duty.ends().now_or_never().is_none());
    }
}
