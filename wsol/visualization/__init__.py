"""What a network looks at in a photo: from photos over guesses to pictures."""
