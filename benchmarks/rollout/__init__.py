"""Change without harm, counted: updates, rollouts and faults under load, and simulated rollouts."""
