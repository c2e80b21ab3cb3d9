"""The pages that people see, rendered here and without a script; what they look like is `style.css` beside."""
