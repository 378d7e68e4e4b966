import { AppError } from '../../domain/error.ts'

/** An image that Hearth will not take: `invalid`, saying where in it, what is wrong there, and what to do. */
export function refuseImage(where: string, problem: string, fix: string): AppError {
  const shown = where.length > 160 ? `${where.slice(0, 80)}...${where.slice(-77)}` : where
  return new AppError('invalid', `Cannot take the image: ${shown}: ${problem}. ${fix}`, {
    field: 'code',
    value: shown,
    allowed: fix,
  })
}

export const buildAgain = 'Build or save the image again.'
