"""Real Claude Code, in its oldest and newest form that is looked after, against HQ and the plugin."""
