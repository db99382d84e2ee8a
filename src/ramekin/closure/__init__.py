"""What of a package goes into an image: slices, recipes, essentials. Trees in, trees and reasons out."""
