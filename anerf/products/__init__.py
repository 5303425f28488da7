"""What people take away: picture sheets and tables."""
